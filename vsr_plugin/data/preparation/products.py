"""What is to be made of a set, and making it: LR frames and packed clips, which appear only when they are whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vsr_plugin.data.clips import Clip, ImageClip, PackedClip
from vsr_plugin.data.clips.clip import frames_in_order
from vsr_plugin.data.clips.packed import PackedWriter, packed_bytes
from vsr_plugin.data.degradations import DEGRADATIONS
from vsr_plugin.data.preparation.checks import SCALE, Findings
from vsr_plugin.data.preparation.processes import Tick
from vsr_plugin.errors import DataError, MediaError
from vsr_plugin.files import PartialFolder, partial_path


@dataclass(frozen=True)
class Product:
    """A version of a clip that is to be made.

    Args:
        path: the ``.npy`` file, or the folder of PNG files.
        source: the clip whose frames are used.
        degradation: what is done to them; ``None`` for nothing but to cut them to multiples of four.
        frames: length.
        height: rows of a frame of the product.
        width: columns.
    """

    path: Path
    source: Clip
    degradation: str | None
    frames: int
    height: int
    width: int

    @property
    def packed(self) -> bool:
        """Whether it is a packed clip, and not a folder of PNG files."""
        return self.path.suffix == ".npy"

    @property
    def max_bytes(self) -> int:
        """Space on the disk: exact for a packed clip, for PNG files an upper bound that few pictures come near."""
        return packed_bytes(self.frames, self.height, self.width)

    def is_made(self) -> bool:
        """Whether it is there.

        Raises:
            DataError: something else is there under its name.
        """
        if not self.path.exists():
            return False
        clip = (PackedClip if self.packed else ImageClip)(self.path.stem, self.path)
        try:
            there = (clip.num_frames, clip.height, clip.width)
        except DataError as error:
            raise DataError(f"{self.path}: is there already and not whole ({error}); remove it") from error
        if there != (self.frames, self.height, self.width):
            raise DataError(
                f"{self.path}: is there already with {there[0]} frames of {there[2]}x{there[1]}, not {self.frames} of "
                f"{self.width}x{self.height}; remove it or choose another --out"
            )
        return True


def make(products: list[Product], tick: Tick) -> list[Product]:
    """Make all versions of one clip, reading each source once; those that are there are left alone.

    Raises:
        DataError: a frame is damaged.
        MediaError: the disk is full.
    """
    wanted = [product for product in products if not product.is_made()]
    for source in dict.fromkeys(product.source for product in products):
        some = [product for product in wanted if product.source is source]
        if some:
            _make_from(source, some, tick)
        else:
            tick(source.num_frames)
    return products


def _make_from(source: Clip, products: list[Product], tick: Tick) -> None:
    with ExitStack() as stack:
        writers: list[tuple[Product, Callable[[np.ndarray], None]]] = []
        for product in products:
            product.path.parent.mkdir(parents=True, exist_ok=True)
            writers.append((product, stack.enter_context(_open_writer(product)).write))
        for frame in frames_in_order(source):
            for product, write in writers:
                write(_derive(frame, product))
            tick(1)


def _derive(frame: np.ndarray, product: Product) -> np.ndarray:
    if product.degradation is None:
        return frame[: product.height, : product.width]
    cut = frame[: product.height * SCALE, : product.width * SCALE]
    return DEGRADATIONS[product.degradation].downsample(cut, SCALE)


def _open_writer(product: Product) -> PackedWriter | PNGWriter:
    if product.packed:
        return PackedWriter(product.path, height=product.height, width=product.width, num_frames=product.frames)
    return PNGWriter(product.path, _stems(product.source))


def _stems(clip: Clip) -> Iterator[str]:
    return (clip.frame_name(i) for i in range(clip.num_frames))


class PNGWriter:
    """Writes frames as PNG files into a folder that appears when the ``with`` block ends well.

    Args:
        folder: the folder.
        stems: names of the files in order, without suffix.

    Raises:
        MediaError: the folder exists or cannot be made.
    """

    def __init__(self, folder: Path, stems: Iterator[str]) -> None:
        self._stems = stems
        partial = partial_path(folder)
        # What a killed run has left.
        shutil.rmtree(partial, ignore_errors=True)
        self._partial = PartialFolder(folder, overwrite=False, path=partial)

    def write(self, frame: np.ndarray) -> None:
        """Write the next frame (h, w, 3), uint8 RGB.

        Raises:
            MediaError: the disk is full.
        """
        _, data = cv2.imencode(".png", cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2BGR))
        path = self._partial.path / f"{next(self._stems)}.png"
        try:
            path.write_bytes(data)
        except OSError as error:
            raise MediaError(
                f"{self._partial.target}: writing {path.name} failed ({error.strerror}); free space or choose another "
                "place"
            ) from error

    def __enter__(self) -> PNGWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        try:
            if kind is None:
                self._partial.commit()
        finally:
            self._partial.discard()


PACKED = "packed"


@dataclass(frozen=True)
class Request:
    """What a person asks for.

    Args:
        out: where everything is put.
        degradations: LR versions to have.
        pack: whether ground truth and LR are packed; otherwise LR is made as PNG files.
    """

    out: Path
    degradations: tuple[str, ...]
    pack: bool


def lr_origins(findings: Sequence[Findings], request: Request) -> dict[str, str]:
    """Where LR frames come from by degradation: ``'found'`` if every clip has them, else ``'made'``.

    Those that are asked for are there in the end; others are used if they are there.
    """
    origins = {}
    known = {degradation for f in findings for degradation in f.clip.tree.lr} | set(request.degradations)
    for degradation in sorted(known):
        if all(degradation in f.clip.lr for f in findings):
            origins[degradation] = "found"
        elif degradation in request.degradations:
            # Half of the clips from elsewhere and half from us would be two degradations in one set.
            origins[degradation] = "made"
    return origins


def plan(findings: Findings, request: Request, origins: dict[str, str]) -> dict[str, Product]:
    """What is to be made of one clip, by the folder below ``out`` that it goes to.

    Raises:
        DataError: the clip's name would lead out of ``out``.
    """
    clip = findings.clip
    low = (findings.height // SCALE, findings.width // SCALE)
    high = tuple(SCALE * side for side in low)

    def product(folder: str, name: str, source: Clip, degradation: str | None, size: tuple[int, int]) -> Product:
        path = request.out / folder / (f"{name}.npy" if request.pack else name)
        if ".." in path.parts[len(request.out.parts) :]:
            raise DataError(f"clip {name}: its name leads out of {request.out}")
        return Product(path, source, degradation, findings.frames, *size)

    made = {}
    if request.pack:
        made[f"{PACKED}/GT"] = product(f"{PACKED}/GT", clip.name, clip.gt, None, high)
    for degradation, origin in origins.items():
        if request.pack:
            folder, name = f"{PACKED}/{degradation}x{SCALE}", clip.name
        else:
            folder, name = f"{clip.tree.made}{degradation}x{SCALE}", clip.gt.name
        if origin == "made":
            made[folder] = product(folder, name, clip.gt, degradation, low)
        elif request.pack:
            made[folder] = product(folder, name, clip.lr[degradation], None, low)
    return made
