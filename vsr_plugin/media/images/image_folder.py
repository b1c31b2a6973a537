"""A folder of images, one image, or an animation as a source of frames."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from vsr_plugin.errors import MediaError
from vsr_plugin.media.colour import IMAGE_COLOUR, MATRIX_BT2020, PRIMARIES_BT2020, Colour
from vsr_plugin.media.image_file import IMAGE_FAULTS, open_image, read_header, read_image, unreadable
from vsr_plugin.media.source import Entry, Frame, FrameSource

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_DIGITS = re.compile(r"(\d+)", re.ASCII)


class ImageFolderSource(FrameSource):
    """Images of one size in natural order; see :class:`FrameSource` for the common attributes.

    Every header is read at the start, so that a file of another size or a file that is no image
    is found before the long work.

    Attributes:
        files: The images, in order.
        folder: The folder they lie in.
        is_one_image: Whether an image was given, and no folder.
        has_alpha: Whether any image carries transparency.
        profiles: ICC profiles by stem, of images that have one of their own kind of pixels.
    """

    kind = "folder"

    def __init__(self, path: Path) -> None:
        """Raises ``MediaError`` for an empty folder, mixed sizes or a file that is no image."""
        super().__init__(path)
        if path.is_dir():
            self.folder = path
            self.files = self._list_images(path)
        else:
            self.folder = path.parent
            self.files = [path]
        self.is_one_image = not path.is_dir()
        self.num_frames = len(self.files)
        self._read_headers()

    def _list_images(self, folder: Path) -> list[Path]:
        try:
            names = sorted(
                (p for p in folder.iterdir() if not p.name.startswith(".")), key=lambda p: natural_key(p.name)
            )
        except OSError as error:
            raise MediaError(f"{folder}: cannot be listed ({error.strerror}); check who may read it") from error
        images = [p for p in names if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
        chosen = set(images)
        others = [p.name for p in names if p not in chosen]
        if not images:
            known = ", ".join(s[1:] for s in IMAGE_SUFFIXES)
            found = f"only {_some(others)}" if others else "it is empty"
            raise MediaError(f"{folder}: holds no images ({found}); put {known} files there")
        if others:
            self.notes.add(f"{folder}: {len(others)} other entries are ignored: {_some(others)}")
        if gap := find_gap([p.name for p in images]):
            self.notes.add(f"{folder}: {gap}; the images are taken as one follows the other")
        return images

    def _read_headers(self) -> None:
        self.bit_depth = 8
        self.has_alpha = False
        self.profiles: dict[str, bytes] = {}
        known: dict[bytes, bytes] = {}  # so that equal ones are in memory once
        grey = animated = turned = shallow = unfit = 0
        for file in self.files:
            header = read_header(file)
            if file is self.files[0]:
                self.height, self.width = header.height, header.width
                self.colour = _colour(header.code_points)
            self._check_size(file, header.height, header.width)
            self.bit_depth = max(self.bit_depth, header.bit_depth)
            self.has_alpha |= header.alpha
            grey += header.grey
            shallow += header.bit_depth == 8
            if header.profile is not None:
                if _profile_fits(header.profile, header.grey):
                    self.profiles[file.stem] = known.setdefault(header.profile, header.profile)
                else:
                    unfit += 1
            animated += header.num_pictures > 1
            turned += not header.orientation.is_upright
        if grey:
            self.notes.add(f"{grey} of {self.num_frames} images are grey; they are restored as RGB with equal channels")
        if self.has_alpha:
            self.notes.add("images with transparency: colour and alpha are handled apart")
        if self.bit_depth > 8:
            self.notes.add("images with 16 bits per sample are read with their full depth")
            if shallow:
                self.notes.add(
                    f"{shallow} of {self.num_frames} images have 8 bits per sample; they become 16-bit images"
                )
        if unfit:
            self.notes.add(f"{unfit} images have a colour profile for other pixels than RGB or grey; it is not kept")
        if turned:
            self.notes.add(f"{turned} of {self.num_frames} images are turned upright as their files say")
        if animated:
            self.notes.add(
                f"{animated} files hold several pictures; the first of each is used (all of an animation is, if it "
                "is the input by itself)"
            )

    def _check_size(self, file: Path, height: int, width: int) -> None:
        if (height, width) != (self.height, self.width):
            raise MediaError(
                f"{file}: is {width}x{height}, but {self.files[0].name} is {self.width}x{self.height}; "
                "all images must have one size, move this one elsewhere"
            )

    def frames(self, start: int = 0, num_frames: int | None = None, entry: Entry | None = None) -> Iterator[Frame]:
        """Read images in natural order; see :meth:`FrameSource.frames`. Memory: one frame."""
        for number in self.numbers(start, num_frames):
            file = self.files[number]
            frame = read_image(file)
            self._check_size(file, *frame.rgb.shape[:2])
            yield _deepened(frame) if self.bit_depth > 8 else frame

    def numbers(self, start: int, num_frames: int | None) -> range:
        """See :meth:`FrameSource.numbers`."""
        return self._range_of(len(self.files), start, num_frames)


def natural_key(name: str) -> tuple:
    """Return a sort key that compares runs of digits as numbers and the rest without case.

    Names that differ only in case or in leading zeros fall back to their plain spelling, so the
    order is the same on every run.

    Example:
        >>> sorted(['f10', 'f9', 'F1'], key=natural_key)
        ['F1', 'f9', 'f10']
    """
    # split() alternates text, digits, text, ...: equal positions always hold equal types.
    parts = _DIGITS.split(name.casefold())
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), name


def _deepened(frame: Frame) -> Frame:
    """An image with 16 bits per sample."""
    if frame.rgb.dtype == np.uint16:
        return frame
    wide = (None if pixels is None else pixels.astype(np.uint16) * 257 for pixels in (frame.rgb, frame.alpha))
    return replace(frame, **dict(zip(("rgb", "alpha"), wide, strict=True)))


def _colour(code_points: tuple[int, int] | None) -> Colour:
    """How images stand for colours, given what the first of them says."""
    if code_points is None:
        return IMAGE_COLOUR
    primaries, transfer = code_points
    matrix = MATRIX_BT2020 if primaries == PRIMARIES_BT2020 else IMAGE_COLOUR.matrix
    return replace(IMAGE_COLOUR, matrix=matrix, primaries=primaries, transfer=transfer)


def _profile_fits(profile: bytes, grey: bool) -> bool:
    """Whether an ICC profile is for the pixels that images are written with; its header names the colour space."""
    return profile[16:20] == (b"GRAY" if grey else b"RGB ")


def find_gap(files: list[str]) -> str | None:
    """Say which number is left out or stands twice in names that count frames, None if all is well.

    Names count if they differ in one group of digits only (``im1``, ``00000001x4``). Frames may be numbered in steps
    (0, 10, 20); a gap is a jump over one or more steps.

    Args:
        files: Names in natural order.
    """
    stems = [_DIGITS.split(Path(name).stem) for name in files]
    varying = [i for i in range(len(stems[0])) if len({stem[i] if i < len(stem) else None for stem in stems}) > 1]
    if len({len(stem) for stem in stems}) > 1 or len(varying) > 1 or any(i % 2 == 0 for i in varying):
        return None
    if not varying:
        return f"{files[0]} and {files[1]} are the same frame" if len(files) > 1 else None
    numbers = [int(stem[varying[0]]) for stem in stems]
    step = min(b - a for a, b in pairwise(numbers))
    for (a, b), (before, after) in zip(pairwise(numbers), pairwise(files), strict=True):
        if a == b:
            return f"{before} and {after} are the same frame"
        if step and b - a > step and (b - a) % step == 0:
            missing = str(a + step).zfill(len(stems[0][varying[0]]))
            count = (b - a) // step - 1
            what = f"frame {missing} is missing" if count == 1 else f"{count} frames from {missing} on are missing"
            return f"{what} between {before} and {after}"
    return None


def _some(names: list[str], limit: int = 3) -> str:
    """Return the first few names and how many more there are."""
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


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
        numbers = self._range_of(self.num_frames, start, num_frames)
        with _opened(self.path) as image:
            for number, picture in enumerate(_pictures(image)):
                if number >= numbers.stop:
                    return
                if number in numbers:
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
