"""Figures beside PSNR and SSIM by name: of single frames, and of frames with their neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation import naturalness, perceptual, regions, temporal
from vsr_plugin.evaluation.quality import Protocol

#: What can be asked for, and its definition.
DEFINITIONS = {
    **temporal.DEFINITIONS,
    "regions": regions.DEFINITION,
    "lpips": perceptual.DEFINITION,
    "niqe": naturalness.DEFINITION,
}
#: Those that look at neighbouring frames.
TEMPORAL = (*temporal.DEFINITIONS, "regions")


def definitions_of(figures: Iterable[str]) -> list[str]:
    """What the figures of a frame are, a line for each metric that they belong to."""
    figures = set(figures)
    first_of = {name: name for name in DEFINITIONS} | {"regions": f"psnr_{regions.REGIONS[0]}"}
    return [text for name, text in DEFINITIONS.items() if first_of[name] in figures]


def check_metrics(names: Sequence[str], *, all_frames: bool = True) -> None:
    """Find out before long work whether figures can be taken.

    Args:
        names: of figures.
        all_frames: whether every frame of a clip is scored.

    Raises:
        VSRError: there is no figure of a name, or what it needs is absent.
    """
    for name in names:
        if name not in DEFINITIONS:
            raise VSRError(f"{name}: no such metric beside PSNR and SSIM; there are {', '.join(DEFINITIONS)}")
        if name in TEMPORAL and not all_frames:
            raise VSRError(f"{name} compares neighbouring frames, but of this set only the centre frames are scored")
    if "lpips" in names:
        perceptual.check_lpips()


def extra_figures(
    names: Sequence[str],
    restored: Callable[[int], np.ndarray],
    gt: Callable[[int], np.ndarray],
    index: int,
    num_frames: int,
    protocol: Protocol,
) -> dict[str, float | None]:
    """Figures of one frame of a clip.

    Args:
        names: see :data:`DEFINITIONS`.
        restored: gives frame ``i`` of the clip, RGB ``(h, w, 3)`` of ``uint8``.
        gt: gives its ground truth.
        index: of the frame.
        num_frames: length of the clip.
        protocol: channel and border for what is PSNR of a part of the frame.

    Returns:
        A value per figure, ``None`` for the first frame where it takes the one before; ``warping`` brings
        ``warping_gt`` along, and ``regions`` is the figures of :func:`~vsr_plugin.evaluation.regions.region_psnr`.
    """
    figures: dict[str, float | None] = {}
    pair = None
    if index > 0 and any(name in names for name in temporal.DEFINITIONS):
        pair = restored(index - 1), restored(index), gt(index - 1), gt(index)
    if "tof" in names:
        figures["tof"] = None if pair is None else temporal.tof(*pair)
    if "warping" in names:
        errors = (None, None) if pair is None else temporal.warping_errors(*pair)
        figures["warping"], figures["warping_gt"] = errors
    if "regions" in names:
        neighbours = [gt(i) for i in (index - 1, index + 1) if 0 <= i < num_frames]
        figures |= regions.region_psnr(restored(index), gt(index), neighbours, protocol)
    if "lpips" in names:
        figures["lpips"] = perceptual.lpips_distance(restored(index), gt(index))
    if "niqe" in names:
        figures["niqe"] = naturalness.niqe(restored(index))
    return figures
