"""YUV to RGB and back with a stream's own matrix and range.

Numbers of matrices, primaries, transfers and ranges are those of ITU-T H.273, which containers,
codecs and PyAV share.
"""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import VideoReformatter

MATRIX_RGB, MATRIX_BT709, MATRIX_BT601, MATRIX_BT2020 = 0, 1, 6, 9
PRIMARIES_BT2020 = 9
UNSPECIFIED = 2
RANGE_LIMITED, RANGE_FULL = 1, 2
TRANSFER_SRGB = 13
TRANSFER_HDR = (16, 18)

# H.273 matrix -> the number under which the converter (swscale) knows it.
_CONVERTER_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}

# The fast default path repeats chroma samples and rounds coarsely; these flags interpolate chroma
# and keep a constant colour within 2 levels through a round trip.
# swscale's numbers for bicubic, full_chroma_int, full_chroma_inp and accurate_rnd: PyAV takes them in every
# version, but names the last three only from 18 on.
_ACCURATE = 0x4 | 0x2000 | 0x4000 | 0x40000


@dataclass(frozen=True)
class Colour:
    """How a stream's samples stand for colours.

    Attributes:
        matrix: H.273 matrix coefficients used for conversion, 0 for RGB samples.
        full_range: Whether samples span the full code range.
        primaries: H.273 colour primaries, 2 when unspecified.
        transfer: H.273 transfer characteristics, 2 when unspecified.
    """

    matrix: int
    full_range: bool
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED

    @property
    def range(self) -> int:
        """The range as H.273 counts it: 1 limited, 2 full."""
        return RANGE_FULL if self.full_range else RANGE_LIMITED


#: What an ordinary image file holds, and the matrix to write it to video with.
IMAGE_COLOUR = Colour(MATRIX_BT709, full_range=False, primaries=1, transfer=TRANSFER_SRGB)


def is_rgb(pix_fmt: str) -> bool:
    """Whether samples of ``pix_fmt`` are RGB (or a palette of RGB) already."""
    fmt = av.VideoFormat(pix_fmt)
    return bool(fmt.is_rgb or fmt.has_palette)


def describe(frame: av.VideoFrame, assume_matrix: str | None = None) -> tuple[Colour, list[str]]:
    """Return the colour description of a decoded frame and notes on what was assumed.

    Args:
        frame: A decoded frame, before conversion.
        assume_matrix: ``'bt601'`` or ``'bt709'`` for streams that declare no matrix; by default
            what players assume: BT.2020 beside its primaries or for HDR, else BT.709 for 720 lines or 1280 columns and
            more, BT.601 below.
    """
    primaries, transfer = int(frame.color_primaries), int(frame.color_trc)
    if is_rgb(frame.format.name):
        return Colour(MATRIX_RGB, True, primaries, transfer), []
    notes = []
    matrix = int(frame.colorspace)
    if matrix not in _CONVERTER_MATRIX:
        if assume_matrix is None:
            wide = primaries == PRIMARIES_BT2020 or transfer in TRANSFER_HDR
            large = frame.height >= 720 or frame.width >= 1280
            assume_matrix = "bt2020" if wide else "bt709" if large else "bt601"
        declared = "declares no colour matrix" if matrix == UNSPECIFIED else f"uses colour matrix {matrix}"
        matrix = {"bt601": MATRIX_BT601, "bt709": MATRIX_BT709, "bt2020": MATRIX_BT2020}[assume_matrix]
        notes.append(f"the video {declared}; it is read and tagged as {assume_matrix.upper()}")
    full = int(frame.color_range) == RANGE_FULL or frame.format.name.startswith("yuvj")
    if transfer in TRANSFER_HDR:
        notes.append("the video is HDR; its primaries and transfer are carried over, mastering metadata is not")
    return Colour(matrix, full, primaries, transfer), notes


class ToRGB:
    """Converts decoded frames to RGB arrays; keeps the converter between frames."""

    def __init__(self, colour: Colour, bit_depth: int) -> None:
        self._colour = colour
        self._format = "rgb24" if bit_depth <= 8 else "rgb48le"
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """Return ``(h, w, 3)``: ``uint8`` for sources of up to 8 bits, else ``uint16`` 0..65535."""
        matrix = _CONVERTER_MATRIX.get(self._colour.matrix)
        converted = self._reformatter.reformat(
            frame,
            format=self._format,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=self._colour.range,
            dst_color_range=RANGE_FULL,
            interpolation=_ACCURATE,
        )
        rgb = converted.to_ndarray()
        if not self._colour.full_range and len(frame.format.components) < 3 and int(frame.color_range) == RANGE_LIMITED:
            # The converter takes all grey for full range, whatever it is told.
            step, largest = (1, 255) if rgb.dtype == np.uint8 else (256, 65535)
            stretched = (rgb.astype(np.float32) - 16 * step) * (largest / (219 * step))
            rgb = np.clip(np.rint(stretched), 0, largest).astype(rgb.dtype)
        return rgb


class FromRGB:
    """Converts RGB arrays to frames of an encoder's pixel format; keeps the converter."""

    def __init__(self, colour: Colour, pix_fmt: str) -> None:
        self._pix_fmt = pix_fmt
        self._colour = colour
        self._reformatter = VideoReformatter()

    def __call__(self, rgb: np.ndarray) -> av.VideoFrame:
        """Return a frame made from ``(h, w, 3)`` ``uint8`` or ``uint16`` (full range)."""
        source_format = "rgb24" if rgb.dtype == np.uint8 else "rgb48le"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format=source_format)
        matrix = _CONVERTER_MATRIX.get(self._colour.matrix)
        return self._reformatter.reformat(
            frame,
            format=self._pix_fmt,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=RANGE_FULL,
            dst_color_range=self._colour.range,
            interpolation=_ACCURATE,
        )


def output_colour(source: Colour, pix_fmt: str) -> Colour:
    """Return how the output's samples are described, given the source and the pixel format.

    RGB formats are full range without a matrix; a YUV output of an RGB source is BT.709 limited.
    """
    if is_rgb(pix_fmt):
        return Colour(MATRIX_RGB, True, source.primaries, source.transfer)
    if source.matrix == MATRIX_RGB:
        return Colour(MATRIX_BT709, pix_fmt.startswith("yuvj"), source.primaries, source.transfer)
    full = source.full_range or pix_fmt.startswith("yuvj")
    return Colour(source.matrix, full, source.primaries, source.transfer)
