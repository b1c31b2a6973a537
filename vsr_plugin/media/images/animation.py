"""Frames of an animated PNG or WebP, with the times at which they are shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from vsr_plugin.media.colour import IMAGE_COLOUR
from vsr_plugin.media.image_file import IMAGE_FAULTS, open_image, unreadable
from vsr_plugin.media.source import Entry, Frame, FrameSource

_FORMATS = ("PNG", "WEBP")
_MILLISECOND = Fraction(1, 1000)
#: What players make of a frame that is shown for no time.
_SHOWN_AT_LEAST = 10


class AnimationSource(FrameSource):
    """One file with several pictures, read by Pillow; see :class:`FrameSource` for the common attributes.

    Attributes:
        has_alpha: Whether it carries transparency.
        profiles: Empty; it has no images with names.
    """

    kind = "video"
    bit_depth = 8
    colour = IMAGE_COLOUR
    has_own_rate = True
    time_base = _MILLISECOND

    def __init__(self, path: Path) -> None:
        """Read it once, for the times; raises ``MediaError`` if it is damaged."""
        super().__init__(path)
        self.profiles: dict[str, bytes] = {}
        self.has_alpha = False
        self._times = [0]
        with _opened(path) as image:
            self.width, self.height = image.size
            for picture in _pictures(image):
                self.has_alpha |= picture.has_transparency_data
                shown = round(picture.info.get("duration") or 0)
                self._times.append(self._times[-1] + max(shown, _SHOWN_AT_LEAST))
        self.num_frames = len(self._times) - 1
        self.average_rate = self.num_frames / (self._times[-1] * _MILLISECOND)
        self.grid_rate = self.average_rate
        self.constant_rate = len({after - before for before, after in pairwise(self._times)}) == 1

    def frames(self, start: int = 0, num_frames: int | None = None, entry: Entry | None = None) -> Iterator[Frame]:
        """Decode frames from the first one on, and yield those asked for; see :meth:`FrameSource.frames`."""
        self._check_range(start, num_frames)
        if start >= self.num_frames:
            raise self._too_short(start, self.num_frames)
        stop = self.num_frames if num_frames is None else start + num_frames
        if stop > self.num_frames:
            self.notes.add(f"{self.num_frames - start} frames from {start} on exist, {num_frames} were asked for")
        with _opened(self.path) as image:
            for number, picture in enumerate(_pictures(image)):
                if number >= stop:
                    return
                if number >= start:
                    pixels = np.asarray(picture.convert("RGBA" if self.has_alpha else "RGB"))
                    yield Frame(
                        np.ascontiguousarray(pixels[..., :3]),
                        alpha=np.ascontiguousarray(pixels[..., 3]) if self.has_alpha else None,
                        pts=self._times[number],
                        duration=self._times[number + 1] - self._times[number],
                    )


def is_animated(path: Path) -> bool:
    """Whether a file is an image of a kind that may move, and holds several pictures."""
    try:
        with open_image(path) as image:
            return image.format in _FORMATS and getattr(image, "n_frames", 1) > 1
    except IMAGE_FAULTS:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image whose faults are told in one line."""
    try:
        with open_image(path) as image:
            yield image
    except IMAGE_FAULTS as error:
        raise unreadable(path, error) from error


def _pictures(image: Image.Image) -> Iterator[Image.Image]:
    # A PNG may begin with a picture for those who know of no animation.
    for number in range(bool(image.info.get("default_image")), image.n_frames):
        image.seek(number)
        image.load()
        yield image
