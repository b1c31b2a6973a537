"""What deformable alignment does beyond flow: features, and where they are sampled (BasicVSR++, section 3.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from vsr_plugin.acceleration.conversion import mixed
from vsr_plugin.errors import VSRError
from vsr_plugin.models.alignment import DeformableAlignment
from vsr_plugin.models.driver import Sweep
from vsr_plugin.models.vsr_net import VSRNet
from vsr_plugin.visualization.error_map import error_colours
from vsr_plugin.visualization.flow_picture import beside_legend, flow_to_colour
from vsr_plugin.visualization.panels import GAP, LABEL_HEIGHT, Panel, enlarged, fitting_factor, panel_rows, write


@dataclass(frozen=True)
class AlignmentStages:
    """What one sweep has at a frame of the neighbour that it comes from, at the resolution of the features.

    Args:
        warped: its features, warped by flow alone; their mean absolute value over the channels ``(h, w)``.
        aligned: what deformable convolution makes of all neighbours instead, likewise.
        residue: what is added to the flow, the mean over taps and groups ``(h, w, 2)`` in pixels, x before y.
        spread: standard deviation of what is added, over taps and groups ``(h, w)`` in pixels.
    """

    warped: np.ndarray
    aligned: np.ndarray
    residue: np.ndarray
    spread: np.ndarray


@torch.no_grad()
def alignment_stages(net: VSRNet, lrs: Tensor, frame: int) -> dict[str, AlignmentStages]:
    """Restore a sequence and keep what alignment is given and gives at a frame.

    Args:
        net: whose alignment is :class:`DeformableAlignment`, in evaluation mode.
        lrs: RGB in [0, 1], ``(1, t, 3, h, w)``.
        frame: index of a frame between others.

    Returns:
        The stages by the name of the sweep.

    Raises:
        VSRError: the network aligns otherwise, or the frame is at an end of the sequence.
    """
    t = lrs.size(1)
    if not isinstance(net.alignment, DeformableAlignment):
        raise VSRError(
            f"an alignment picture is of deformable alignment, as BasicVSR++ has it; this is {net.components}"
        )
    if not 0 < frame < t - 1:
        raise VSRError(f"frame {frame} of {t} has no neighbours on both sides; choose one between others")
    steps: Counter[str] = Counter()
    given: dict[Sweep, tuple] = {}

    class Recording:
        def align(self, sweep: Sweep, *inputs: object) -> tuple[Tensor, ...]:
            if sweep.in_order(range(t))[steps[sweep.name]] == frame:
                given[sweep] = inputs
            steps[sweep.name] += 1
            return super().align(sweep, *inputs)

    for _ in mixed(net, Recording, "Recording").restore_iter(lrs):
        pass
    return {sweep.name: _stages(net, sweep, *inputs) for sweep, inputs in given.items()}


def _stages(
    net: VSRNet, sweep: Sweep, frame: Tensor, flows: Sequence[Tensor | None], states: Sequence[Tensor | None]
) -> AlignmentStages:
    seen: list[Tensor] = []

    class Recording:
        def displaced(self, residues: Tensor, flows: Sequence[Tensor]) -> Tensor:
            seen.append(residues)
            return super().displaced(residues, flows)

    class RecordingLayers:
        def layers(self, sweep: Sweep) -> torch.nn.Module:
            return mixed(super().layers(sweep), Recording, "Recording")

    across = net.flows_across(flows)
    (aligned,) = mixed(net.alignment, RecordingLayers, "Recording").align(sweep, states, across, frame)
    h, w = aligned.shape[-2:]
    # Of the nearest neighbour, whose groups are the first; y before x.
    residues = seen[0].view(sweep.order, -1, 2, h, w)[0].flip(1).float().cpu()
    return AlignmentStages(
        warped=_energy(net.alignment.warp(states[0], across[0])),
        aligned=_energy(aligned),
        residue=residues.mean(dim=0).permute(1, 2, 0).numpy(),
        spread=residues.var(dim=0, correction=0).sum(dim=0).sqrt().numpy(),
    )


def _energy(feat: Tensor) -> np.ndarray:
    return feat[0].float().abs().mean(dim=0).cpu().numpy()


def alignment_picture(frame: np.ndarray, stages: dict[str, AlignmentStages], words: Sequence[str]) -> Image.Image:
    """Draw, for each sweep, features by flow alone and as they are aligned, and where alignment samples.

    Args:
        frame: RGB ``(h, w, 3)`` of ``uint8``.
        stages: see :func:`alignment_stages`.
        words: lines on what is shown, beside the frame.

    Returns:
        The picture, RGB.
    """
    all_stages = list(stages.values())
    factor = fitting_factor(frame.shape[1], 4, target=1900)
    # Features may have a lower resolution than the frame.
    larger = factor * max(1, round(frame.shape[1] / all_stages[0].spread.shape[1]))
    lengths = np.concatenate([np.hypot(*np.moveaxis(stage.residue, 2, 0)).ravel() for stage in all_stages])
    longest = max(float(np.percentile(lengths, 99)), 1e-3)
    rows = [[Panel("frame", enlarged(frame, factor))]]
    for name, stage in stages.items():
        features = dict(warped=stage.warped, aligned=stage.aligned)
        limits = {label: max(float(np.percentile(values, 99)), 1e-6) for label, values in features.items()}
        most = max(float(np.percentile(stage.spread, 99)), 1e-6)
        rows.append(
            [
                *(
                    Panel(
                        f"{name}, {label}: 0 to {limits[label]:.2g}",
                        enlarged(error_colours(values, limits[label]), larger),
                    )
                    for label, values in features.items()
                ),
                Panel("added to the flow, mean", enlarged(flow_to_colour(stage.residue, longest), larger)),
                Panel(
                    f"spread of the samples: 0 to {most:.2g} px", enlarged(error_colours(stage.spread, most), larger)
                ),
            ]
        )
    picture = panel_rows(rows)
    draw = ImageDraw.Draw(picture)
    lines = [*words, "features: mean absolute value over the channels, dark to bright; warped: by flow alone"]
    for k, line in enumerate([*lines, "spread: standard deviation of what is added, over taps and groups"]):
        write(draw, factor * frame.shape[1] + 2 * GAP, GAP + LABEL_HEIGHT + 26 * k, line)
    return beside_legend(picture, longest, float(lengths.max()))
