"""Previews that were made, so that changing back to one is immediate."""

from __future__ import annotations

import functools
import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import numpy as np
from PIL import Image

from vsr_plugin.app.choices import Choice
from vsr_plugin.errors import VSRError
from vsr_plugin.media import open_source
from vsr_plugin.models.vsr_net import VSRNet, load_restorer
from vsr_plugin.ops.device import pick_device
from vsr_plugin.ops.frames import to_uint8
from vsr_plugin.restoration.pipeline import StoppedError
from vsr_plugin.restoration.preview import Estimate, excerpt, preview

#: Pictures and clips of so many bytes are kept, beside the newest.
_CAPACITY = 2**29


@dataclass(frozen=True)
class Shown:
    """A preview as the page shows it.

    Attributes:
        key: stands for input, moment and choice.
        choice: what it was made with.
        where: the moment, in words.
        size: rows and columns of the output.
        pictures: PNG files by name: ``original``, ``enlarged``, ``restored``.
        estimate: of the whole job.
    """

    key: str
    choice: Choice
    where: str
    size: tuple[int, int]
    pictures: dict[str, bytes]
    estimate: Estimate


class Previews:
    """Makes previews, one at a time, and keeps those that were used last.

    Args:
        device: computes; ``'auto'``, ``'cpu'``, ``'cuda'`` or ``'cuda:N'``.
        folder: for clips; it exists.
        capacity: bytes that are kept.

    Attributes:
        device: what computes.
        folder: of the clips.
    """

    def __init__(self, device: str, folder: Path, *, capacity: int = _CAPACITY) -> None:
        self.device = pick_device(device)
        self.folder, self._capacity = folder, capacity
        self._shown: OrderedDict[str, Shown] = OrderedDict()
        self._computing = threading.Lock()
        #: Guards what is kept.
        self._lock = threading.Lock()
        self._net = functools.lru_cache(maxsize=2)(self._load)

    def find(self, key: str) -> Shown | None:
        """A preview that is kept, which is one that was used just now."""
        with self._lock:
            if key in self._shown:
                self._shown.move_to_end(key)
            return self._shown.get(key)

    def kept(self, path: Path, output: Path, choice: Choice, moment: float) -> Shown | None:
        """The preview of a moment, if it was made; see :meth:`make`."""
        return self.find(_key(path, output, choice, moment))

    def make(
        self, path: Path, output: Path, choice: Choice, moment: float, progress: Callable[[float], None], stop: Event
    ) -> Shown:
        """The preview of a moment, made unless it is kept.

        Args:
            path: of the input.
            output: of the whole, whose kind says how frames are encoded.
            choice: how it is restored.
            moment: seconds of a video, the number of an image.
            progress: called with numbers of frames that are done.
            stop: ends it when it is set.

        Raises:
            VSRError: it cannot be restored so, or was stopped.
        """
        key = _key(path, output, choice, moment)
        if (kept := self.find(key)) is not None:
            return kept
        with self._alone(stop):
            made = preview(path, output, self._net_of(choice), choice.options, moment, progress=progress, stop=stop)
        pictures = {name: to_png(getattr(made, name)) for name in ("original", "enlarged", "restored")}
        shown = Shown(key, choice, made.where, made.restored.shape[:2], pictures, made.estimate)
        with self._lock:
            self._shown[key] = shown
            while len(self._shown) > 1 and sum(map(_bytes, self._shown.values())) > self._capacity:
                self._shown.popitem(last=False)
        return shown

    def clip(self, path: Path, choice: Choice, moment: float, seconds: float, stop: Event) -> Path:
        """A short video of the output around a moment, made unless it is there; see :meth:`make`.

        Raises:
            VSRError: it cannot be restored so, or was stopped.
        """
        target = self.folder / f"{_key(path, Path('clip.mp4'), choice, moment, seconds)}.mp4"
        if not target.exists():
            options = replace(choice.options, resume=True)  # of one that was stopped, something may be done
            with self._alone(stop):
                if not target.exists():  # which somebody else may have waited for
                    excerpt(path, target, self._net_of(choice), options, moment, seconds=seconds, stop=stop)
        return target

    @contextmanager
    def _alone(self, stop: Event) -> Iterator[None]:
        """One at a time computes; what is stopped ends with a word that a person understands."""
        try:
            with self._computing:
                if stop.is_set():
                    raise StoppedError
                yield
        except StoppedError as error:
            raise VSRError("stopped") from error

    def _net_of(self, choice: Choice) -> VSRNet:
        path = Path(choice.weights)
        return self._net(choice.weights, path.stat().st_mtime_ns if path.is_file() else 0)

    def _load(self, weights: str, _changed: int) -> VSRNet:
        return load_restorer(weights, device=self.device)


def frame_at(path: Path, moment: float) -> np.ndarray:
    """The frame of a moment as it is, upright, ``(h, w, 3)`` of ``uint8``; see :meth:`Previews.make`.

    Raises:
        MediaError: the input cannot be read.
    """
    with open_source(path) as source:
        is_video = source.kind == "video"
        entered = source.entered_at(moment)
        for frame in entered.frames(0 if is_video else int(moment)):
            if not is_video or float(frame.pts * source.time_base) >= moment:
                break
        return source.orientation.apply(to_uint8(frame.rgb))


def _key(path: Path, output: Path, choice: Choice, moment: float, seconds: float = 0.0) -> str:
    """Stands for what a picture shows: another file of the same name has another one."""
    status = path.stat()
    parts = (path, status.st_size, status.st_mtime_ns, output.suffix, *choice.arguments(), f"{moment:.3f}", seconds)
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:24]


def to_png(rgb: np.ndarray) -> bytes:
    """The file of a picture ``(h, w, 3)`` of ``uint8``."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _bytes(shown: Shown) -> int:
    return sum(map(len, shown.pictures.values()))
