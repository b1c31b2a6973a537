"""What of a stored picture is shown, and which way up: cropping, and the eight ways to turn and mirror.

FFmpeg reads the cropping that a container asks for, and PyAV does not pass it on, so it is looked for in the file:
``PixelCrop`` of Matroska (RFC 9559, 5.1.4.1.28.8 and on), and the clean aperture of MP4 and MOV (``clap``, ISO/IEC
14496-12, 12.1.4).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

_UNIT = 1 << 16
_EXIF = {
    # orientation tag: (transpose, flip_lr, flip_ud)
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


@dataclass(frozen=True)
class Orientation:
    """Transpose first, then mirror left-right, then mirror top-bottom."""

    transpose: bool = False
    flip_lr: bool = False
    flip_ud: bool = False

    @classmethod
    def from_exif(cls, tag: int | None) -> Orientation:
        """Return the turn that EXIF tag 274 asks for; unknown values mean upright."""
        return cls(*_EXIF.get(tag or 1, _EXIF[1]))

    @classmethod
    def from_display_matrix(cls, matrix: Sequence[int]) -> Orientation | None:
        """Return the turn described by a display matrix, or ``None`` for any other angle.

        Args:
            matrix: Nine integers ``a b u c d v x y w`` as containers store them: a pixel at
                ``(x, y)``, y downwards, is shown at ``(a*x + c*y, b*x + d*y)`` plus a shift.
        """
        a, b, c, d = (matrix[i] / _UNIT for i in (0, 1, 3, 4))
        tiny = 0.01 * max(abs(a), abs(b), abs(c), abs(d))
        if a and d and abs(b) <= tiny and abs(c) <= tiny:
            return cls(False, a < 0, d < 0)
        if b and c and abs(a) <= tiny and abs(d) <= tiny:
            return cls(True, c < 0, b < 0)
        return None

    @property
    def is_upright(self) -> bool:
        """Whether nothing has to be done."""
        return not (self.transpose or self.flip_lr or self.flip_ud)

    @property
    def mirrors(self) -> bool:
        """Whether the turn is a reflection, which no rotation alone can express."""
        return (self.transpose + self.flip_lr + self.flip_ud) % 2 == 1

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return ``(height, width)`` of the upright picture."""
        return (width, height) if self.transpose else (height, width)

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Return the upright view of ``(h, w)`` or ``(h, w, c)``; no copy is made."""
        if self.transpose:
            picture = picture.swapaxes(0, 1)
        if self.flip_lr:
            picture = picture[:, ::-1]
        if self.flip_ud:
            picture = picture[::-1]
        return picture


def scale_display_matrix(matrix: Sequence[int], old: tuple[int, int], new: tuple[int, int]) -> tuple[int, ...]:
    """Return ``matrix`` for a picture that is enlarged: only its shift is in pixels.

    Args:
        matrix: As containers store it.
        old: Height and width of the upright picture, in whose directions the shift is.
        new: Those of the enlarged one.
    """
    scaled = list(matrix)
    for i, side in ((6, 1), (7, 0)):
        scaled[i] = max(-(1 << 31), min((1 << 31) - 1, round(scaled[i] * Fraction(new[side], old[side]))))
    return tuple(scaled)


_SEGMENT, _CLUSTER, _TRACKS, _TRACK, _TYPE, _VIDEO = 0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE, 0x83, 0xE0
_PIXEL_CROP = {0x54CC: "left", 0x54DD: "right", 0x54BB: "top", 0x54AA: "bottom"}
#: Boxes of MP4 that lead to those of the video's codec.
_PATH = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_ENTRY_HEAD, _VIDEO_ENTRY_HEAD = 8, 78


class Cropping(NamedTuple):
    """Columns and rows of a stored picture that are not shown."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    def fits(self, height: int, width: int) -> bool:
        """Whether something of a picture is left."""
        return min(self) >= 0 and self.left + self.right < width and self.top + self.bottom < height

    def slices(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of a picture of that size that are shown."""
        return slice(self.top, height - self.bottom), slice(self.left, width - self.right)


def read_cropping(path: Path, container: str, number: int, size: tuple[int, int]) -> Cropping:
    """Return the cropping of a video stream; none where a file says none, or says it in a way that is not understood.

    Args:
        path: The file.
        container: FFmpeg's name of its format.
        number: Which of its video streams, counted from 0.
        size: Rows and columns of the stored picture.
    """
    found = Cropping()
    try:
        with open(path, "rb") as file:
            end = path.stat().st_size
            if container.startswith("matroska"):
                found = _nth(_matroska_crops(file, end), number)
            elif container.startswith("mov"):
                found = _nth(_clean_apertures(file, end, size), number)
    except (OSError, struct.error, ValueError, IndexError, ZeroDivisionError):
        pass
    return found if found.fits(*size) else Cropping()


def _nth(croppings: Iterator[Cropping], number: int) -> Cropping:
    return list(croppings)[number]


def _matroska_crops(file: BinaryIO, end: int) -> Iterator[Cropping]:
    for segment, begin, stop in _elements(file, 0, end):
        if segment != _SEGMENT:
            continue
        for element, begin, stop in _elements(file, begin, stop):  # noqa: B020 (one level further down)
            if element == _CLUSTER:  # what comes behind it are pictures and sound
                return
            if element == _TRACKS:
                for track, first, last in _elements(file, begin, stop):
                    if track == _TRACK:
                        inside = {name: place for name, *place in _elements(file, first, last)}
                        if _TYPE in inside and _number(file, *inside[_TYPE]) == 1:
                            video = _elements(file, *inside.get(_VIDEO, (0, 0)))
                            sides = {
                                _PIXEL_CROP[name]: _number(file, *place)
                                for name, *place in video
                                if name in _PIXEL_CROP
                            }
                            yield Cropping(**sides)


def _elements(file: BinaryIO, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the EBML elements between two places: identifier, begin and end of the content."""
    while place < end:
        file.seek(place)
        head = file.read(12)
        if len(head) < 2 or not head[0] or not head[(id_length := 9 - head[0].bit_length())]:
            return
        size_byte = head[id_length]
        size_length = 9 - size_byte.bit_length()
        value = int.from_bytes(head[id_length : id_length + size_length], "big") & ((1 << 7 * size_length) - 1)
        begin = place + id_length + size_length
        unknown = value == (1 << 7 * size_length) - 1
        place = end if unknown else min(begin + value, end)
        yield int.from_bytes(head[:id_length], "big"), begin, place


def _number(file: BinaryIO, begin: int, end: int) -> int:
    file.seek(begin)
    return int.from_bytes(file.read(min(end - begin, 8)), "big")


def _clean_apertures(file: BinaryIO, end: int, size: tuple[int, int]) -> Iterator[Cropping]:
    places = [(0, end)]
    for name in _PATH:
        places = [(first, last) for place in places for kind, first, last in _boxes(file, *place) if kind == name]
        if name == b"mdia":
            places = [place for place in places if _is_video(file, *place)]
    for first, last in places:
        found = Cropping()
        for _, begin, stop in _boxes(file, first + _ENTRY_HEAD, last):
            for kind, inner, _ in _boxes(file, begin + _VIDEO_ENTRY_HEAD, stop):
                if kind == b"clap":
                    file.seek(inner)
                    found = _aperture(struct.unpack(">8i", file.read(32)), size)
        yield found


def _is_video(file: BinaryIO, first: int, last: int) -> bool:
    for kind, begin, _ in _boxes(file, first, last):
        if kind == b"hdlr":
            file.seek(begin + 8)
            return file.read(4) == b"vide"
    return False


def _boxes(file: BinaryIO, place: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes of MP4 between two places: name, begin and end of the content."""
    while place + 8 <= end:
        file.seek(place)
        size, name = struct.unpack(">I4s", file.read(8))
        begin = place + 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            begin += 8
        stop = end if size == 0 else min(place + size, end)
        if stop < begin:
            return
        yield name, begin, stop
        place = stop


def _aperture(numbers: tuple[int, ...], size: tuple[int, int]) -> Cropping:
    """Cropping of the width, the height and the distances of the middles that a clean aperture has, in fractions."""
    width, height, across, down = (Fraction(a, b) for a, b in zip(numbers[::2], numbers[1::2], strict=True))
    left, top = (size[1] - width) / 2 + across, (size[0] - height) / 2 + down
    sides = (left, size[1] - width - left, top, size[0] - height - top)
    return Cropping(*map(int, sides)) if all(side.denominator == 1 for side in sides) else Cropping()
