"""One image file: its header, its pixels, and writing one.

8-bit images go through Pillow, which keeps palettes, transparency and grey apart; 16-bit ones go
through OpenCV, because Pillow reduces 16-bit colour to 8 bits.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from vsr_plugin.errors import MediaError
from vsr_plugin.media.colour import Colour
from vsr_plugin.media.display import Orientation
from vsr_plugin.media.source import Frame

_EXIF_ORIENTATION = 274
_TIFF_BITS_PER_SAMPLE, _TIFF_PHOTOMETRIC = 258, 262
_GREY_MODES = ("1", "L", "LA", "La")
#: What Pillow raises for a fault of a file.
IMAGE_FAULTS = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)


@dataclass(frozen=True)
class ImageHeader:
    """What the first bytes of an image tell.

    Attributes:
        height: Rows of the upright picture.
        width: Its columns.
        bit_depth: 8 or 16.
        grey: It has a single colour channel.
        alpha: It carries transparency.
        orientation: The turn that the file asks for.
        decoded_upright: Decoders make that turn by themselves.
        num_pictures: More than one of an animation.
        profile: Its ICC profile.
        code_points: Primaries and transfer as a PNG's ``cICP`` says them, in numbers of H.273.
    """

    height: int
    width: int
    bit_depth: int
    grey: bool
    alpha: bool
    orientation: Orientation
    decoded_upright: bool
    num_pictures: int
    profile: bytes | None
    code_points: tuple[int, int] | None


@contextmanager
def open_image(path: Path | BinaryIO) -> Iterator[Image.Image]:
    """An image by Pillow, which warns of large pictures, whose size is not ours to judge, and of odd tags."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path) as image:
            yield image


def unreadable(path: Path, error: BaseException) -> MediaError:
    """The error to raise for an image that cannot be read."""
    if isinstance(error, UnidentifiedImageError):
        why = "not an image, or of a kind that is not known here"
    else:
        why = str(getattr(error, "strerror", None) or error)
    return MediaError(f"{path}: image cannot be read ({why}); replace or remove it")


def _bit_depth(path: Path, image: Image.Image) -> int:
    """Return the bits per sample of the file, which Pillow's mode does not always tell."""
    if image.format == "PNG":
        with open(path, "rb") as file:
            header = file.read(25)
        return 16 if header[24] == 16 else 8
    if image.format == "TIFF":
        return max(image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, (1,)))
    return 16 if image.mode.startswith("I") else 8


def _code_points(path: Path) -> tuple[int, int] | None:
    """What a PNG's ``cICP`` says, which Pillow does not read; it stands before the pixels."""
    with open(path, "rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name == b"cICP" and length == 4:
                return tuple(file.read(2))
            if name == b"IDAT":
                break
            file.seek(length + 4, 1)
    return None


def _orientation(image: Image.Image) -> Orientation:
    """Return the turn that the EXIF data ask for, reading the header only."""
    if image.format == "PNG" and "exif" not in image.info:
        # Pillow would decode the whole picture to look for EXIF data behind it.
        return Orientation()
    return Orientation.from_exif(image.getexif().get(_EXIF_ORIENTATION))


def read_header(path: Path) -> ImageHeader:
    """Read an image's header only.

    Raises:
        MediaError: the file is no image, or has more than 16 bits per sample.
    """
    try:
        with open_image(path) as image:
            depth = _bit_depth(path, image)
            orientation = _orientation(image)
            # Pillow and OpenCV turn TIFF while they decode it, and Pillow tells the upright size before.
            decoded_upright = image.format == "TIFF"
            turn = Orientation() if decoded_upright else orientation
            height, width = turn.size(image.height, image.width)
            header = ImageHeader(
                height=height,
                width=width,
                bit_depth=16 if depth > 8 else 8,
                grey=image.mode in _GREY_MODES or image.mode.startswith("I"),
                alpha=image.has_transparency_data,
                orientation=orientation,
                decoded_upright=decoded_upright,
                num_pictures=getattr(image, "n_frames", 1),
                profile=image.info.get("icc_profile") or None,
                code_points=_code_points(path) if image.format == "PNG" else None,
            )
    except IMAGE_FAULTS as error:
        raise unreadable(path, error) from error
    if depth > 16 or image.mode == "F":
        raise MediaError(f"{path}: has {depth} bits per sample; convert it to 8 or 16 bits")
    return header


def read_image(path: Path) -> Frame:
    """Read an image upright (EXIF orientation applied), the first picture of an animation.

    Returns:
        Frame: ``uint8``, or ``uint16`` for 16-bit files; palettes are expanded, a transparent
        colour becomes ``alpha``, CMYK becomes RGB, ``grey`` is set for single-channel files.

    Raises:
        MediaError: the file cannot be read whole.
    """
    header = read_header(path)
    try:
        rgb, alpha = _read_16bit(path) if header.bit_depth == 16 else _read_8bit(path, header.grey)
    except IMAGE_FAULTS as error:
        raise unreadable(path, error) from error
    turn = Orientation() if header.decoded_upright else header.orientation
    rgb = np.ascontiguousarray(turn.apply(rgb))
    if alpha is not None:
        alpha = np.ascontiguousarray(turn.apply(alpha))
    return Frame(rgb, alpha=alpha, grey=header.grey, name=path.stem)


def _read_8bit(path: Path, grey: bool) -> tuple[np.ndarray, np.ndarray | None]:
    # Of a name, Pillow maps some kinds of files into memory, and TIFF that is to be turned by a quarter with its sides
    # exchanged.
    with open(path, "rb") as file, open_image(file) as image:
        alpha = image.has_transparency_data
        pixels = np.asarray(image.convert("RGBA" if alpha else "L" if grey else "RGB"))
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2), None
    return pixels[..., :3], pixels[..., 3] if alpha else None


def _read_16bit(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    with open_image(path) as image:
        # OpenCV fills up a cut-off file in silence; this compares checksums and finds it.
        image.verify()
        white_is_zero = image.format == "TIFF" and image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0
        transparent = image.info.get("transparency")
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flags)
    if pixels is None:
        raise ValueError("its pixels do not decode")
    if pixels.dtype != np.uint16:
        raise ValueError(f"its samples are {pixels.dtype}, 8 or 16 bits are needed")
    if pixels.ndim == 2:
        alpha = None if transparent is None else np.where(pixels == transparent, 0, 65535).astype(np.uint16)
        return np.repeat((65535 - pixels if white_is_zero else pixels)[..., None], 3, axis=2), alpha
    if pixels.shape[2] == 4:
        return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB), pixels[..., 3]
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), None


def profile_chunk(profile: bytes) -> tuple[bytes, bytes]:
    """The chunk of a PNG that holds an ICC profile."""
    return b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)


def code_points_chunk(colour: Colour) -> tuple[bytes, bytes]:
    """The chunk of a PNG (third edition, 11.3.2.6) that says what its RGB stands for, in numbers of H.273."""
    return b"cICP", bytes([colour.primaries, colour.transfer, 0, 1])


def encode_png(frame: Frame, chunks: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Return a PNG of ``frame``: RGB, RGBA, grey or grey with alpha, 8 or 16 bits.

    16-bit grey with alpha is written as RGBA, which no writer at hand does otherwise.

    Args:
        frame: What to encode.
        chunks: Names and contents of further chunks, which go before the pixels.
    """
    data = _png_of_pixels(frame)
    # The signature has 8 bytes and the header's chunk 25.
    further = (
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
    return b"".join([data[:33], *further, data[33:]])


def _png_of_pixels(frame: Frame) -> bytes:
    rgb, alpha = frame.rgb, frame.alpha
    if frame.grey:
        grey = _to_grey(rgb)
        if alpha is None:
            return _encode(grey)
        if rgb.dtype == np.uint8:
            buffer = io.BytesIO()
            Image.fromarray(np.dstack([grey, alpha]), mode="LA").save(buffer, "PNG")
            return buffer.getvalue()
        rgb = np.repeat(grey[..., None], 3, axis=2)
    if alpha is None:
        return _encode(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR))
    return _encode(np.dstack([rgb[..., ::-1], alpha]))


def _encode(pixels: np.ndarray) -> bytes:
    ok, data = cv2.imencode(".png", np.ascontiguousarray(pixels))
    if not ok:
        raise ValueError(f"PNG encoding of {pixels.shape} {pixels.dtype} failed")
    return data.tobytes()


def _to_grey(rgb: np.ndarray) -> np.ndarray:
    """Return BT.601 luma of ``(h, w, 3)`` in its dtype; exact where the channels are equal."""
    luma = rgb.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return np.rint(luma).astype(rgb.dtype)
