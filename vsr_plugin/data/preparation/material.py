"""Clips of the size of LR frames, made of photographs and videos: what cleaning networks are trained on.

A photograph becomes clips in which a camera pans, zooms and turns over it, and a part of it moves apart from the rest;
a video becomes clips that are smaller by several factors. Both are reduced by MATLAB's bicubic kernel, as LR frames of
training sets are, which also takes out what compressing them for storage has put in.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from vsr_plugin.data.clips import VideoClip, file_clip
from vsr_plugin.data.clips.clip import frames_in_order, is_image
from vsr_plugin.data.clips.packed import PackedWriter
from vsr_plugin.errors import DataError, MediaError
from vsr_plugin.media.image_file import read_image
from vsr_plugin.ops.frames import to_uint8
from vsr_plugin.ops.resize import bicubic_downsample

#: Sides of the clips that photographs become, and their length.
PHOTO_CLIP = (144, 208)
PHOTO_FRAMES = 24
#: By how much photographs and videos are reduced; those factors are left out that make a video too small.
PHOTO_FACTORS = (2, 3, 4, 6)
VIDEO_FACTORS = (2, 3, 4, 6)
_SMALLEST = 96
#: Of longer videos as many frames are taken, from the beginning.
_MOST_FRAMES = 200


@dataclass(frozen=True)
class _Path:
    """A smooth movement: place, angle and scale of the picture's middle at each frame.

    Attributes:
        matrices: ``(t, 2, 3)``, from coordinates in the frame to those in the photograph.
    """

    matrices: np.ndarray

    @classmethod
    def draw(
        cls, rng: np.random.Generator, photo: tuple[int, int], frame: tuple[int, int], t: int, speed: float
    ) -> _Path:
        """A path over a photograph ``(h, w)`` for frames ``(h, w)`` that moves up to ``speed`` pixels a frame."""
        when = np.linspace(-0.5, 0.5, t)
        sway = np.sin(2 * np.pi * (rng.uniform(0.3, 1.5) * when + rng.random()))
        direction, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0, speed) * t * (rng.random() > 0.15)
        along = reach * (when + 0.1 * sway)
        angle = rng.normal(0, 0.05) + rng.normal(0, 0.04) * when
        zoom = 1 + rng.uniform(-0.12, 0.12) * when
        room = [max(0.0, (p - f) / 2) for p, f in zip(photo, frame, strict=True)]
        middle_y, middle_x = (p / 2 + rng.uniform(-r, r) for p, r in zip(photo, room, strict=True))
        cos, sin = np.cos(angle) * zoom, np.sin(angle) * zoom
        x, y = middle_x + np.cos(direction) * along, middle_y + np.sin(direction) * along
        half_h, half_w = (f / 2 for f in frame)
        rows = [[cos, -sin, x - cos * half_w + sin * half_h], [sin, cos, y - sin * half_w - cos * half_h]]
        return cls(np.array(rows).transpose(2, 0, 1))

    def show(self, photo: np.ndarray, i: int, frame: tuple[int, int]) -> np.ndarray:
        """What the camera sees of a photograph at frame ``i``, as ``(h, w, c)`` of sides ``frame``."""
        how = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(photo, self.matrices[i], frame[::-1], flags=how, borderMode=cv2.BORDER_REFLECT_101)


def move_photograph(photo: np.ndarray, rng: np.random.Generator, t: int = PHOTO_FRAMES) -> Iterator[np.ndarray]:
    """Make a clip of a photograph.

    Args:
        photo: RGB ``(h, w, 3)`` of ``uint8``, at least of the sides of a clip.
        rng: the movement is drawn from it.
        t: frames.

    Yields:
        Frames of sides :data:`PHOTO_CLIP`, ``uint8``. They are drawn at twice their size and reduced, so that they are
        as sharp between the photograph's pixels as on them.
    """
    double = tuple(2 * side for side in PHOTO_CLIP)
    ground = _Path.draw(rng, photo.shape[:2], double, t, speed=6)
    object_, where = (_Path.draw(rng, photo.shape[:2], double, t, speed=12) for _ in range(2))
    mask = _blob(rng, double) if rng.random() < 0.6 else None
    for i in range(t):
        frame = ground.show(photo, i, double)
        if mask is not None:
            shift = where.matrices[i, :, 2] - where.matrices[0, :, 2]
            moved = cv2.warpAffine(mask, np.float32([[1, 0, shift[0]], [0, 1, shift[1]]]), double[::-1])[..., None]
            frame = frame + moved * (object_.show(photo, i, double).astype(np.float32) - frame)
        yield bicubic_downsample(frame.round().astype(np.uint8) if mask is not None else frame, 2)


def _blob(rng: np.random.Generator, sides: tuple[int, int]) -> np.ndarray:
    """A mask ``(h, w)`` in [0, 1] of a few ellipses that hang together, with an edge of about a pixel."""
    h, w = sides
    mask = np.zeros(sides, np.float32)
    middle = np.array([rng.uniform(0.2, 0.8) * w, rng.uniform(0.2, 0.8) * h])
    for _ in range(int(rng.integers(1, 5))):
        axes = rng.uniform(0.05, 0.25, 2) * min(sides)
        place = middle + rng.normal(0, 0.1 * min(sides), 2)
        cv2.ellipse(mask, tuple(map(int, place)), tuple(map(int, axes)), rng.uniform(0, 180), 0, 360, 1.0, -1)
    return cv2.GaussianBlur(mask, (0, 0), 1.5)


@dataclass(frozen=True)
class _Product:
    """A clip to be made: its name, its length, and what gives its frames."""

    name: str
    num_frames: int
    frames: Callable[[], Iterator[np.ndarray]]


def find_material(root: Path) -> tuple[list[Path], list[VideoClip]]:
    """Photographs and videos below a folder, at any depth.

    Raises:
        DataError: there is no such folder, or neither is in it.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give the folder with photographs and videos")
    files = []
    for folder, subfolders, names in os.walk(root, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        files += [Path(folder, name) for name in names if not name.startswith(".")]
    files.sort()
    photos = [path for path in files if is_image(path.name)]
    clips = (file_clip(_name_of(path, root), path) for path in files)
    videos = [clip for clip in clips if isinstance(clip, VideoClip)]
    if not photos and not videos:
        raise DataError(f"{root}: holds neither photographs nor videos; put some there")
    return photos, videos


def make_material(
    root: Path, out: Path, *, clips_per_photo: int = 8, progress: Callable[[int], None] | None = None
) -> list[str]:
    """Make packed clips of all photographs and videos below ``root``; those that exist in ``out`` are kept.

    Args:
        root: a folder.
        out: the folder of the clips, ``NAME.npy``; it is made.
        clips_per_photo: how many of each photograph.
        progress: called with the number of clips done since the last call.

    Returns:
        Names of the clips, also of those that were there.

    Raises:
        DataError: see :func:`find_material`; or a file is damaged.
        MediaError: the disk is full.
    """
    photos, videos = find_material(root)
    out.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    for products in (*(_of_photo(p, root, clips_per_photo) for p in photos), *map(_of_video, videos)):
        for product in products:
            if product.name in names:
                raise DataError(f"{root}: two files would become clip {product.name}; rename one of them")
            path = out / f"{product.name}.npy"
            if not path.exists():
                _write(path, product)
            names.append(product.name)
            if progress is not None:
                progress(1)
    return names


def count_material(root: Path, clips_per_photo: int) -> int:
    """How many clips :func:`make_material` would make, apart from videos that are too small for some factor."""
    photos, videos = find_material(root)
    return len(photos) * clips_per_photo + len(videos) * len(VIDEO_FACTORS)


def _name_of(path: Path, root: Path) -> str:
    return "_".join(path.relative_to(root).with_suffix("").parts)


def _of_photo(path: Path, root: Path, count: int) -> Iterable[_Product]:
    name = _name_of(path, root)
    photo = None
    for k in range(count):
        rng = np.random.default_rng([zlib.crc32(name.encode()), k])

        def frames(rng: np.random.Generator = rng) -> Iterator[np.ndarray]:
            nonlocal photo
            if photo is None:
                photo = _read(path)
            # So far that something is left to move over.
            largest = min(side // (2 * of) for side, of in zip(photo.shape[:2], PHOTO_CLIP, strict=True))
            fitting = [factor for factor in PHOTO_FACTORS if factor // 2 <= max(1, largest)]
            reduced = bicubic_downsample(photo, int(rng.choice(fitting)) / 2)
            yield from move_photograph(reduced, rng, PHOTO_FRAMES)

        yield _Product(f"{name}_{k}", PHOTO_FRAMES, frames)


def _read(path: Path) -> np.ndarray:
    try:
        photo = to_uint8(read_image(path).rgb)
    except MediaError as error:
        raise DataError(f"{error}; remove it") from error
    if min(photo.shape[:2]) < 2 * max(PHOTO_CLIP):
        raise DataError(
            f"{path}: the photograph is {photo.shape[1]}x{photo.shape[0]}; both sides must be {2 * max(PHOTO_CLIP)} at "
            "least; remove it"
        )
    return photo


def _of_video(clip: VideoClip) -> Iterable[_Product]:
    count = min(clip.num_frames, _MOST_FRAMES)
    for factor in VIDEO_FACTORS:
        if min(clip.height, clip.width) // factor >= _SMALLEST:
            name = f"{clip.name}_by_{factor}"

            def frames(factor: int = factor) -> Iterator[np.ndarray]:
                height, width = (side // factor * factor for side in (clip.height, clip.width))
                for frame in islice(frames_in_order(clip), count):
                    yield bicubic_downsample(frame[:height, :width], factor)

            yield _Product(name, count, frames)


def _write(path: Path, product: _Product) -> None:
    frames = product.frames()
    first = next(frames)
    with PackedWriter(path, height=first.shape[0], width=first.shape[1], num_frames=product.num_frames) as writer:
        writer.write(first)
        for frame in frames:
            writer.write(frame)
