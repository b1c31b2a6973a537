"""What can be told of footage before it is restored: how it was compressed, and what resolution it holds."""

from __future__ import annotations

import copy
from itertools import islice
from typing import NamedTuple

from vsr_plugin.evaluation.resolution import held_factor
from vsr_plugin.media import FrameSource
from vsr_plugin.media.source import Notes

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
#: Bits a pixel from which on what a codec leaves behind is not seen: those for editing, and lossless H.264.
_PLENTY = 2.0
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


def cleaning_for(source: FrameSource, clean: str | float, *, cleans_already: bool) -> CleaningChoice:
    """The cleaning that is meant by ``--clean`` for a source.

    Args:
        source: the input.
        clean: ``'auto'``, ``'off'`` or a strength.
        cleans_already: whether the network has a cleaning of its own, or was trained to restore such frames, which
            ``'auto'`` leaves to it.
    """
    if clean == "off":
        return CleaningChoice(0.0)
    if clean != "auto":
        return CleaningChoice(float(clean), source.quantiser_step)
    codec, bits = source.codec, source.bits_per_pixel
    if cleans_already or codec is None or codec in _LOSSLESS or (bits is not None and bits > _PLENTY):
        return CleaningChoice(None)
    rate, step = "" if bits is None else f" at {bits:.2g} bits a pixel", source.quantiser_step
    if step is not None:
        rate += f", in steps of {step:.2g}/255"
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
