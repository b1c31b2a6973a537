"""What is to be made of a set, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vsr_plugin.data.clips import Clip
from vsr_plugin.data.preparation.checks import SCALE, Findings
from vsr_plugin.data.preparation.making import Product
from vsr_plugin.errors import DataError

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
