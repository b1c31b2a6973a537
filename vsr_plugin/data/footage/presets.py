"""Kinds of footage, each as the steps that its clips have gone through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vsr_plugin.data.footage.codecs import VideoCodec
from vsr_plugin.data.footage.graphics import SquarePixels, Writing
from vsr_plugin.data.footage.noise import JPEG, GaussianNoise, PoissonNoise
from vsr_plugin.data.footage.optics import BicubicResize, Blur, Resize, Ringing, Sharpening, resized
from vsr_plugin.data.footage.step import Clip, InOrder, OneOf, Sometimes, Step
from vsr_plugin.data.footage.tape import InterlacingLeftOver, Tape
from vsr_plugin.ops.resize import bicubic_downsample


@dataclass(frozen=True)
class Preset:
    """What happens to clips of one kind of footage.

    Attributes:
        capture: before and while they are made small, such as blur; left out where degraded frames keep their size.
        storage: afterwards, at the size that they end with.
        exact: share of clips that are made small as in the paper (BI), without ``capture``.
        either_side: what happens just before they are made small, or after ``storage``, each half of the time.
    """

    capture: Step
    storage: Step
    exact: float = 0.5
    either_side: Step | None = None


_X264 = (("preset", ("veryfast", "fast", "medium")), ("bf", ("0", "2", "3")))
_H264 = VideoCodec("h264", quality=(15, 38), by_rate=0.1, bit_rate=(0.15, 0.8), gops=(12, 50, 250), options=_X264)
_HEVC = VideoCodec("hevc", quality=(18, 38), gops=(12, 50, 250))
_VP9 = VideoCodec("vp9", quality=(20, 55), gops=(50, 250))
_B_FRAMES = (("bf", ("0", "2")),)
_MPEG2 = VideoCodec("mpeg2", quality=(2, 24), by_rate=0.4, bit_rate=(0.08, 0.8), gops=(12, 15), options=_B_FRAMES)
_MPEG4 = VideoCodec("mpeg4", quality=(2, 16), by_rate=0.2, bit_rate=(0.1, 0.6), options=_B_FRAMES)
_MJPEG = VideoCodec("mjpeg", quality=(2, 14))
_CINEPAK = VideoCodec("cinepak")

_LIGHT_BLUR = Sometimes(0.5, Blur(sigma=(0.2, 1.6)))
# Out of focus, or enlarged from less.
_SOFT = Sometimes(0.8, OneOf((Blur(sigma=(0.2, 4.0)), Resize(factors=(0.15, 0.6), up=0.0, down=1.0)), (1, 1)))
_SENSOR = OneOf((GaussianNoise(sigma=(0.5, 6)), PoissonNoise(scale=(0.05, 0.6))), (1, 1))

_WEB = InOrder((Sometimes(0.15, _SENSOR), OneOf((_H264, _HEVC, _VP9), (0.75, 0.1, 0.15)), Sometimes(0.15, _H264)))
_DVD = InOrder((Sometimes(0.15, _SENSOR), Sometimes(0.1, Ringing()), _MPEG2))
_OLD_CAMERA = InOrder(
    (Sometimes(0.6, _SENSOR), Sometimes(0.3, Sharpening()), OneOf((_MJPEG, _MPEG4, _CINEPAK), (0.45, 0.45, 0.1)))
)
# Of footage that was converted, the first codec is what left its traces, and the last one is what a decoder tells of.
_COPIED = InOrder(
    (
        OneOf((_MPEG2, _MPEG4, _MJPEG, _H264, _VP9), (2, 2, 1, 3, 1)),
        OneOf((VideoCodec("h264", quality=(8, 24), options=_X264), VideoCodec("mpeg4", quality=(2, 4))), (3, 1)),
    )
)
# Clips that were reduced show how their codec has smoothed them, and none of its steps.
_ANY_CODEC = OneOf((_H264, _VP9, _MPEG2, _MPEG4, _MJPEG), (4, 1, 1, 1, 1))
_REDUCED = OneOf(
    (
        InOrder((_ANY_CODEC, BicubicResize(0.5))),
        InOrder((BicubicResize(2.0), _ANY_CODEC, BicubicResize(0.25))),
    ),
    (1, 2),
)
_TAPE = InOrder((Tape(), Sometimes(0.5, InterlacingLeftOver()), OneOf((_MPEG2, _MPEG4, _H264), (1, 1, 1))))

# One round or two of what may have happened in any order (as in BSRGAN, arXiv 2103.14006), at the frames' size.
_ONE_ROUND = InOrder(
    (
        Sometimes(0.5, Blur(sigma=(0.2, 1.2))),
        Sometimes(0.3, OneOf((Ringing(), Sharpening()), (1, 1))),
        Sometimes(0.5, _SENSOR),
        Sometimes(0.3, JPEG()),
        OneOf((_H264, _HEVC, _VP9, _MPEG2, _MPEG4, _MJPEG), (3, 1, 1, 1, 1, 1)),
    ),
    shuffled=True,
)

# The two rounds of RealBasicVSR (section 3.4) with the numbers of its published configs. The last codec comes before
# the frames get their final size or at the very end.
_KERNEL = dict(kinds=(0.7, 0.15, 0.15), isotropic=0.69)
_LOW_RATE = OneOf(
    (
        VideoCodec("h264", by_rate=1.0, bits_per_frame=(1e4, 1e5)),
        VideoCodec("mpeg4", by_rate=1.0, bits_per_frame=(1e4, 1e5)),
    ),
    (2, 1),
)
_TWO_ROUNDS = InOrder(
    (
        OneOf((Blur(sigma=(0.2, 3.0), **_KERNEL), Ringing()), (0.9, 0.1)),
        Resize(factors=(0.15, 1.5), up=0.2, down=0.7),
        OneOf((GaussianNoise(sigma=(1, 30)), PoissonNoise(scale=(0.05, 3))), (1, 1)),
        JPEG(quality=(30, 95)),
        _LOW_RATE,
        Sometimes(0.8, OneOf((Blur(sigma=(0.2, 1.5), **_KERNEL), Ringing()), (0.9, 0.1))),
        Resize(factors=(0.3, 1.2), up=0.3, down=0.4),
        OneOf((GaussianNoise(sigma=(1, 25)), PoissonNoise(scale=(0.05, 2.5))), (1, 1)),
        JPEG(quality=(30, 95)),
    )
)

#: Kinds of footage by name. ``clean`` has no fault at all: what cleans is to know that too.
PRESETS = {
    "web": Preset(_LIGHT_BLUR, _WEB),
    "dvd": Preset(_LIGHT_BLUR, _DVD),
    "old_camera": Preset(_LIGHT_BLUR, _OLD_CAMERA),
    "tape": Preset(_LIGHT_BLUR, _TAPE),
    "copied": Preset(_SOFT, _COPIED),
    "reduced": Preset(_REDUCED, InOrder(()), exact=0.0),
    "film": Preset(_SOFT, Sometimes(0.6, _SENSOR), exact=0.2),
    "screen": Preset(InOrder(()), OneOf((Writing(), SquarePixels()), (2, 1)), exact=1.0),
    "unknown": Preset(_SOFT, InOrder((_ONE_ROUND, Sometimes(0.5, _ONE_ROUND)))),
    "realbasicvsr": Preset(_TWO_ROUNDS, Sometimes(0.8, Ringing()), exact=0.0, either_side=_LOW_RATE),
    "clean": Preset(InOrder(()), InOrder(()), exact=1.0),
}


def degrade_footage(frames: Sequence[np.ndarray], preset: str, rng: np.random.Generator, *, scale: int = 1) -> Clip:
    """Make of clean frames what such footage would show of them.

    Args:
        frames: RGB ``(h, w, 3)`` of ``uint8``, of one size, multiples of ``scale``.
        preset: one of :data:`PRESETS`.
        rng: everything is drawn from it.
        scale: sides of the frames over those of the result. With 1 only what storing does is applied: what belongs to
            the optics and to making small is no business of who cleans.

    Returns:
        As many frames ``(h / scale, w / scale, 3)`` of ``uint8``, and how coarsely they were quantised, if a codec was
        the last thing that they went through.

    Raises:
        ValueError: there is no such preset.
        MediaError: the installed PyAV lacks an encoder.
    """
    if preset not in PRESETS:
        raise ValueError(f"`preset` must be one of {', '.join(PRESETS)}, got {preset!r}")
    steps = PRESETS[preset]
    given = np.stack(frames)
    height, width = (side // scale for side in given.shape[1:3])
    if scale > 1 and rng.random() < steps.exact:
        given = np.stack([bicubic_downsample(frame, scale) for frame in given])
    clip = Clip(given.astype(np.float32) / 255)
    is_small = given.shape[1:3] == (height, width)
    clip = clip if is_small else steps.capture.degrade(clip, rng)
    comes_first = steps.either_side is not None and rng.random() < 0.5
    if comes_first:
        clip = steps.either_side.degrade(clip, rng)
    if clip.frames.shape[1:3] != (height, width):
        clip = clip.changed(resized(clip.frames, height, width, rng))
    clip = steps.storage.degrade(clip, rng)
    if steps.either_side is not None and not comes_first:
        clip = steps.either_side.degrade(clip, rng)
    return clip._replace(frames=(clip.frames.clip(0, 1) * 255).round().astype(np.uint8))
