"""Features of IconVSR at a keyframe, warped from the neighbour, before and after information-refill (figure 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from vsr_plugin.acceleration.conversion import mixed
from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation.temporal import is_occluded, leaves_image
from vsr_plugin.visualization.error_map import error_colours
from vsr_plugin.visualization.panels import GAP, LABEL_HEIGHT, Panel, enlarged, fitting_factor, panel_rows, write

_OUTSIDE, _OCCLUDED = (255, 60, 60), (70, 150, 255)


@dataclass(frozen=True)
class RefillStages:
    """What one branch has at a keyframe; features as their mean absolute value over the channels, ``(h, w)``.

    Args:
        warped: of the neighbour, warped onto the keyframe.
        refilled: after the keyframe's own features were merged in.
        change: mean absolute difference of the two over the channels.
        outside: where the flow points outside the neighbour, so that the warped features are zero or fade to it.
        occluded: where the neighbour does not show what is here, by the flows of both directions.
    """

    warped: np.ndarray
    refilled: np.ndarray
    change: np.ndarray
    outside: np.ndarray
    occluded: np.ndarray


@torch.no_grad()
def refill_stages(net: torch.nn.Module, lrs: Tensor, keyframe: int) -> dict[str, RefillStages]:
    """Restore a sequence as far as a keyframe and keep what refill is given and gives there.

    Args:
        net: ``IconVSRNet`` with both branches, feature alignment and undivided sequences, in evaluation mode.
        lrs: RGB in [0, 1], ``(1, t, 3, h, w)``, sides multiples of 4.
        keyframe: index of a keyframe that is neither the first nor the last frame.

    Returns:
        ``'backward'`` and ``'forward'``, the stages of each branch.

    Raises:
        VSRError: the network has no refill, or the frame is no such keyframe.
    """
    t = lrs.size(1)
    propagation = net.propagation
    if not propagation.has_backward or propagation.cuts_sequences or not net.alignment.needs_flow:
        raise VSRError(f"the picture is of features that both branches warp; this network has {net.components}")
    inner = [i for i in net.feature_windows(t) if 0 < i < t - 1]
    if not inner:
        raise VSRError(
            f"{type(net).__name__} has no keyframe inside a sequence of {t} frames; the picture takes an IconVSR "
            "and two frames more than its keyframe stride"
        )
    if keyframe not in inner:
        raise VSRError(f"frame {keyframe} of the sequence is no keyframe between others; those are {inner}")
    merged: list[tuple[Tensor, Tensor]] = []

    class Recording:
        def refill(self, aligned: Tensor, refill: Tensor, fusion: Callable[[Tensor], Tensor]) -> Tensor:
            out = super().refill(aligned, refill, fusion)
            merged.append((aligned, out))
            return out

    # The network merges at keyframes only: backward in time all of them, then forward.
    keyframes = sorted(net.feature_windows(t))
    for i, _ in enumerate(mixed(net, Recording, "Recording").restore_iter(lrs)):
        if i == keyframe:
            break
    flows_forward, flows_backward = (flows[0].permute(0, 2, 3, 1).cpu().numpy() for flows in net.estimate_flows(lrs))
    backward, forward = merged[: len(keyframes)][::-1], merged[len(keyframes) :]
    at, i = keyframes.index(keyframe), keyframe
    return {
        "backward": _stages(*backward[at], flows_backward[i], flows_forward[i]),
        "forward": _stages(*forward[at], flows_forward[i - 1], flows_backward[i - 1]),
    }


def _stages(warped: Tensor, refilled: Tensor, flow: np.ndarray, back: np.ndarray) -> RefillStages:
    def energy(feat: Tensor) -> np.ndarray:
        return feat[0].float().abs().mean(dim=0).cpu().numpy()

    masks = leaves_image(flow), is_occluded(flow, back)
    return RefillStages(energy(warped), energy(refilled), energy(refilled - warped), *masks)


def refill_picture(frame: np.ndarray, stages: dict[str, RefillStages], words: Sequence[str]) -> Image.Image:
    """Draw, for each branch, where warping fails, the features before and after refill, and what refill has changed.

    Args:
        frame: the keyframe, RGB ``(h, w, 3)`` of ``uint8``.
        stages: see :func:`refill_stages`.
        words: lines on what is shown, beside the frame.

    Returns:
        The picture, RGB.
    """
    factor = fitting_factor(frame.shape[1], 4, target=1900)
    rows = [[Panel("keyframe", enlarged(frame, factor))]]
    for branch, stage in stages.items():
        limit = max(float(np.percentile(np.concatenate([stage.warped, stage.refilled]), 99)), 1e-6)
        most = max(float(np.percentile(stage.change, 99)), 1e-6)
        shares = f"{stage.outside.mean():.1%} outside, {stage.occluded.mean():.1%} occluded"
        rows.append(
            [
                Panel(f"{branch}: {shares}", _marked(frame, stage, factor)),
                Panel(f"warped, before refill: 0 to {limit:.2g}", _energy(stage.warped, limit, stage, factor)),
                Panel(f"after refill: 0 to {limit:.2g}", _energy(stage.refilled, limit, stage, factor)),
                Panel(f"change: 0 to {most:.2g}", _energy(stage.change, most, stage, factor)),
            ]
        )
    picture = panel_rows(rows)
    draw = ImageDraw.Draw(picture)
    lines = [*words, "features: mean absolute value over the channels, dark to bright", "red: the flow points outside"]
    for k, line in enumerate([*lines, "blue: occluded in the neighbour, by the flows of both directions"]):
        write(draw, factor * frame.shape[1] + 2 * GAP, GAP + LABEL_HEIGHT + 26 * k, line)
    return picture


def _marked(frame: np.ndarray, stage: RefillStages, factor: int) -> np.ndarray:
    grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) // 2 + 60
    grey[stage.outside], grey[stage.occluded] = _OUTSIDE, _OCCLUDED
    return enlarged(grey, factor)


def _energy(values: np.ndarray, limit: float, stage: RefillStages, factor: int) -> np.ndarray:
    """Values in colours, with the outlines of the places where warping fails."""
    picture = enlarged(error_colours(values, limit), factor)
    for mask, colour in ((stage.outside, _OUTSIDE), (stage.occluded, _OCCLUDED)):
        area = enlarged(mask[..., None].astype(np.uint8), factor)[..., 0]
        contours, _ = cv2.findContours(area, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, colour, 1)
    return picture
