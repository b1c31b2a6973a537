"""What can be told of footage before it is restored: how it was compressed, and what resolution it holds."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.errors import MediaError
from vsr_plugin.media import FrameSource
from vsr_plugin.media.source import Frame, Notes
from vsr_plugin.models.quantiser_estimator import FAINTEST, fitting_step, step_of_frames
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
        luma = torch.from_numpy(frame.astype(np.float32) @ np.float32([0.299, 0.587, 0.114]))[None]
        once, twice = (_through(luma, times * factor) for times in (1, 2))
        fine += float(((luma - once) ** 2).mean())
        coarse += float(((once - twice) ** 2).mean())
    return float(np.sqrt(fine / coarse)) if coarse else 1.0


def _through(luma: Tensor, factor: float) -> Tensor:
    height, width = luma.shape[-2:]
    small = max(1, round(height / factor)), max(1, round(width / factor))
    return bicubic_resize(bicubic_resize(luma, small), (height, width))


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
#: The finest step of the quantiser, in 255ths, that a codec tells and frames are cleaned for: below, cleaning loses
#: more than what the codec leaves behind. Where the step is not told, bits a pixel above which codecs are for editing.
_FINEST, _PLENTY = 2.0, 2.0
#: Frames that are looked at: every so many of as many first ones, and one at each of some places all over the source.
_FIRST, _EVERY, _PLACES = 40, 10, 6
#: A place's frame is not the first that decodes there, which is coded otherwise than those that follow.
_AFTER = 2


class _Look(NamedTuple):
    """What the frames of a source show: how coarsely they are quantised, and by how much they can be reduced."""

    step: float | None
    factor: float


#: Of sources that were looked at, and are still in use.
_LOOKS: WeakKeyDictionary[FrameSource, _Look] = WeakKeyDictionary()


def _look_at(source: FrameSource) -> _Look:
    """Look at some frames of the whole source, once."""
    whole = source.whole
    if whole not in _LOOKS:
        frames = list(_frames_of(whole))
        _LOOKS[whole] = _Look(step_of_frames(frames), held_factor(frames) if whole.kind == "video" else 1.0)
    return _LOOKS[whole]


def _frames_of(source: FrameSource) -> Iterator[np.ndarray]:
    seen = set()
    for run in _runs_of(source):
        with suppress(MediaError):  # cut off, or damaged there
            for frame in run:
                if frame.pts is not None and frame.pts in seen:
                    return  # there are no key frames to enter at, which takes long to find out at every place
                seen.add(frame.pts)
                yield frame.rgb


def _runs_of(source: FrameSource) -> Iterator[Iterable[Frame]]:
    looked_at = copy.copy(source)
    looked_at.notes = Notes()  # what a whole pass finds is not known from a few frames
    count, rate = source.num_frames_estimate, source.average_rate
    if rate is None:  # images, of which any can be read at once
        for number in sorted({place * (count - 1) // _PLACES for place in range(_PLACES + 1)}):
            yield looked_at.frames(number, 1)
        return
    yield islice(looked_at.frames(), 0, _FIRST, _EVERY)
    for place in range(1, _PLACES if count else 1):
        with suppress(MediaError):
            entered = looked_at.entered_at(float(place * count / (_PLACES * rate)))
            yield islice(entered.frames(), _AFTER, _AFTER + 1)


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
    step, words = _compression_of(source)
    if clean != "auto":
        return CleaningChoice(float(clean), step)
    if net is not None and (net.cleaning is not None or net.scale == 1):
        return CleaningChoice(None, step)
    if words is None:
        return CleaningChoice(None)
    if source.kind == "folder":
        return CleaningChoice(None, why=f"the images{words}; --clean 1 cleans away what that has left behind")
    rate = "" if source.bits_per_pixel is None else f" at {source.bits_per_pixel:.2g} bits a pixel"
    why = (
        f"the video is {source.codec or 'animated'}{rate}{words}; what that has left behind is cleaned away first "
        "(--clean off does not)"
    )
    return CleaningChoice(1.0, step, why)


def _compression_of(source: FrameSource) -> tuple[float | None, str | None]:
    """The step that frames are to be cleaned for, and what to say of it, where there is something to be cleaned."""
    codec, bits, told = source.codec, source.bits_per_pixel, source.quantiser_step
    step = fitting_step(told, _look_at(source).step)
    if step != told and (told is not None or step >= FAINTEST):
        looks = " look as if a codec had quantised them in steps of {}/255"
        return step, (looks if source.kind == "folder" else ", and its frames" + looks).format(f"{step:.3g}")
    if told is not None:
        return step, f", in steps of {step:.3g}/255" if step >= _FINEST else None
    # Some codecs, such as Cinepak, do not tell, and leave behind what frames are not looked at for.
    if codec is not None and codec not in _LOSSLESS and (bits is None or bits <= _PLENTY):
        return None, ""
    return step, None


def shrink_hint(source: FrameSource) -> str | None:
    """A line that proposes ``--shrink`` where frames of a video hold less than their full resolution."""
    factor = _look_at(source).factor
    if factor == 1:
        return None
    return (
        f"the frames hold no more detail than 1/{factor:g} of their size would; --shrink {factor:g} restores from "
        f"there, mostly better and in 1/{factor**2:g} of the time"
    )
