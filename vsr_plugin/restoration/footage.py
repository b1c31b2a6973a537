"""What can be told of footage before it is restored: how it was compressed, and what resolution it holds."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch.nn as nn

from vsr_plugin.media import FrameSource
from vsr_plugin.media.source import Notes
from vsr_plugin.ops.resize import bicubic_resize

#: Factors that are tried, and the largest ratio that speaks for each. On whole frames of eight clips the ratio for 2
#: was 0.49 to 1.2 as they are, and 0.23 to 0.48 enlarged by 2 or 3, compressed (CRF 26) or not; for 3 it was 0.43 and
#: more as they are or enlarged by 2, and 0.43 and less enlarged by 3.
_LIMITS = {3.0: 0.44, 2.0: 0.44}


def detail_ratio(frames: Sequence[np.ndarray], factor: float) -> float:
    """How much stands in the finest details, over what stands in those twice as coarse.

    Args:
        frames: RGB ``(h, w, 3)``, ``uint8`` or ``uint16``.
        factor: what is lost by reducing sides by it is what counts as finest; the coarser is what reducing by twice of
            it loses beyond that.

    Returns:
        Ratio of the root mean squares on luma. It is near 1 for sharp pictures; compression, which takes fine details
        out, lowers it little.
    """
    fine = coarse = 0.0
    for frame in frames:
        luma = frame.astype(np.float32) @ np.float32([0.299, 0.587, 0.114])
        luma = np.repeat(luma[..., None], 3, axis=2)
        once, twice = (_through(luma, times * factor) for times in (1, 2))
        fine += float(((luma - once) ** 2).mean())
        coarse += float(((once - twice) ** 2).mean())
    return float(np.sqrt(fine / coarse)) if coarse else 1.0


def _through(luma: np.ndarray, factor: float) -> np.ndarray:
    small = tuple(max(1, round(side / factor)) for side in luma.shape[:2])
    return bicubic_resize(bicubic_resize(luma, small), luma.shape[:2])


def held_factor(frames: Sequence[np.ndarray]) -> float:
    """By how much frames can be reduced without losing anything that they show: 3, 2, or 1.

    Args:
        frames: RGB ``(h, w, 3)``, ``uint8`` or ``uint16``; those of a shot, or of several.
    """
    if not frames or min(frames[0].shape[:2]) < 32:
        return 1.0
    return next((factor for factor, limit in _LIMITS.items() if detail_ratio(frames, factor) < limit), 1.0)


#: Codecs that lose nothing.
_LOSSLESS = {
    *(
        "apng",
        "ffv1",
        "ffvhuff",
        "gif",
        "huffyuv",
        "lagarith",
        "magicyuv",
        "png",
        "qtrle",
        "r210",
        "rawvideo",
        "utvideo",
    ),
    *("v210", "v410", "zlib", "zmbv"),
}
#: Steps of the quantiser, in 255ths, below which cleaning loses more than what a codec leaves behind; where the step is
#: not told, bits a pixel above which codecs are those for editing.
_FINE, _PLENTY = 2.0, 2.0
#: Frames that are looked at, every so many of them, for the resolution.
_LOOKED_AT, _EVERY = 40, 10


class CleaningChoice(NamedTuple):
    """How a source is cleaned.

    Attributes:
        strength, step: what :func:`vsr_plugin.models.cleaning.clean_by` takes.
        why: a line that says it, if there was a choice.
    """

    strength: float | None
    step: float | None = None
    why: str | None = None


def cleaning_for(source: FrameSource, clean: str | float, net: nn.Module | None) -> CleaningChoice:
    """The cleaning that is meant by ``--clean`` for a source.

    Args:
        source: the input.
        clean: ``'auto'``, ``'off'`` or a strength.
        net: the network, if it is known; one with a cleaning of its own is left to that by ``'auto'``, and so is one
            that gives frames of the same size, which is there to clean them: of compression, blur or noise.
    """
    if clean == "off":
        return CleaningChoice(0.0)
    if clean != "auto":
        return CleaningChoice(float(clean), source.quantiser_step)
    codec, bits, step = source.codec, source.bits_per_pixel, source.quantiser_step
    if net is not None and (net.cleaning is not None or net.scale == 1):
        return CleaningChoice(None, step)
    is_fine = step < _FINE if step is not None else bits is not None and bits > _PLENTY
    if codec is None or codec in _LOSSLESS or is_fine:
        return CleaningChoice(None)
    rate = "" if bits is None else f" at {bits:.2g} bits a pixel"
    if step is not None:
        rate += f", in steps of {step:.3g}/255"
    why = f"the video is {codec}{rate}; what that has left behind is cleaned away first (--clean off does not)"
    return CleaningChoice(1.0, step, why)


def shrink_hint(source: FrameSource, start: int) -> str | None:
    """A line that proposes ``--shrink`` where frames of a video hold less than their full resolution."""
    if source.kind != "video":
        return None
    looked_at = copy.copy(source)
    looked_at.notes = Notes()  # what a whole pass finds is not known from a few frames
    frames = [frame.rgb for frame in islice(looked_at.frames(start), 0, _LOOKED_AT, _EVERY)]
    factor = held_factor(frames)
    if factor == 1:
        return None
    return (
        f"the frames hold no more detail than 1/{factor:g} of their size would; --shrink {factor:g} restores from "
        f"there, mostly better and in 1/{factor**2:g} of the time"
    )
