"""Flow-guided deformable alignment: deformable convolution around where the flow points (BasicVSR++, section 3.2)."""

import math
from collections.abc import Sequence

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.models.alignment.alignment import ALIGNMENTS, Alignment
from vsr_plugin.models.propagation.propagation import Propagation, Sweep
from vsr_plugin.ops.deform_conv import ModulatedDeformConv

_SLOPE = 0.1
#: Deformable groups of all states together, in the published network.
_GROUPS = 16


class FlowGuidedDeformConv(ModulatedDeformConv):
    """3x3 deformable convolution over the states of neighbours, displaced by the flow and a predicted residue.

    Args:
        mid_channels: of a state, and of the result.
        order: how many states there are.
        frame_channels: of what is seen of the current frame.
        max_residue_magnitude: bound of the residue in pixels.
    """

    def __init__(self, mid_channels: int, order: int, frame_channels: int, max_residue_magnitude: float):
        c = mid_channels
        # Groups as published where they divide the channels; every group belongs to one state.
        super().__init__(order * c, c, deform_groups=order * math.gcd(c, _GROUPS // order))
        self.order, self.max_residue_magnitude = order, max_residue_magnitude
        self.conv_offset = nn.Sequential(
            nn.Conv2d(order * (c + 2) + frame_channels, c, 3, padding=1),
            nn.LeakyReLU(_SLOPE, inplace=True),
            nn.Conv2d(c, c, 3, padding=1),
            nn.LeakyReLU(_SLOPE, inplace=True),
            nn.Conv2d(c, c, 3, padding=1),
            nn.LeakyReLU(_SLOPE, inplace=True),
            nn.Conv2d(c, 27 * self.deform_groups, 3, padding=1),
        )
        # It begins with the flow alone, and factors of 1/2.
        nn.init.zeros_(self.conv_offset[-1].weight)
        nn.init.zeros_(self.conv_offset[-1].bias)

    def forward(self, states: Tensor, condition: Tensor, flows: Sequence[Tensor]) -> Tensor:
        """Align.

        Args:
            states: of the neighbours, joined ``(n, order * c, h, w)``.
            condition: what the residue is predicted from ``(n, order * (c + 2) + frame_channels, h, w)``.
            flows: to each neighbour ``(n, 2, h, w)`` in pixels.

        Returns:
            ``(n, c, h, w)``.
        """
        *hidden, last = self.conv_offset
        for layer in hidden:
            condition = layer(condition)
        with torch.autocast(condition.device.type, enabled=False):
            # In the precision of the weights: displacements are positions, for which bfloat16 has too few bits.
            return self.sample(states, last(condition.to(last.weight.dtype)), flows)

    def sample(self, states: Tensor, predicted: Tensor, flows: Sequence[Tensor]) -> Tensor:
        """Convolve states around the flows, given what ``conv_offset`` predicts; see :meth:`forward`."""
        displacements, factors = self.part(predicted)
        dtype = torch.promote_types(displacements.dtype, torch.float32)
        displacements = self.displaced(self.max_residue_magnitude * displacements.to(dtype).tanh(), flows)
        return self.deform(states, displacements, factors.sigmoid())

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """The condition from what it consists of, tensors ``(n, *, h, w)``; here as :meth:`forward` has it."""
        return torch.cat(tuple(parts), dim=1)

    def displaced(self, residues: Tensor, flows: Sequence[Tensor]) -> Tensor:
        """Displacements in pixels: residues, y before x, each with the flow to the state of its group added."""
        n, _, h, w = residues.shape
        # Flow has x before y.
        centres = torch.stack([flow.flip(1).to(residues.dtype) for flow in flows], dim=1)
        return (residues.view(n, self.order, -1, 2, h, w) + centres[:, :, None]).view(residues.shape)


def _layers_of(sweep: Sweep) -> str:
    """Name of a sweep's layers: that of the sweep, as published; a module cannot have one called ``forward``."""
    return sweep.name if "_" in sweep.name else f"{sweep.name}_1"


@ALIGNMENTS.register("deformable")
class DeformableAlignment(Alignment):
    """``h̄_i = D(h_{i±1}, h_{i±2}; o, m)``, ``o = s + r tanh(C_o(c))``, ``m = sigmoid(C_m(c))``: equations 2 to 6.

    ``c`` are the states warped by flow, what is seen of the frame, and the flows; for sweeps of first order without
    what belongs to the second neighbour. Each sweep has layers of its own, under its name.

    Args:
        mid_channels: channels of the propagated features.
        max_residue_magnitude: bound ``r`` of what is added to the flow, in pixels.
    """

    #: The displacements of 16 groups alone are 288 channels; measured.
    bytes_per_pixel = 7000.0

    def __init__(self, mid_channels: int, max_residue_magnitude: float = 10):
        super().__init__(mid_channels)
        self.max_residue_magnitude = max_residue_magnitude

    def serve(self, propagation: Propagation, frame_channels: int) -> None:
        """See :meth:`Alignment.serve`."""
        for sweep in propagation.sweeps:
            convolution = FlowGuidedDeformConv(
                self.mid_channels, sweep.order, frame_channels, self.max_residue_magnitude
            )
            self.add_module(_layers_of(sweep), convolution)

    def aligned_channels(self, order: int) -> tuple[int, ...]:
        """See :meth:`Alignment.aligned_channels`; all states become one."""
        return (self.mid_channels,)

    def layers(self, sweep: Sweep) -> FlowGuidedDeformConv:
        """Those of a sweep."""
        return getattr(self, _layers_of(sweep))

    def align(
        self, sweep: Sweep, states: Sequence[Tensor | None], flows: Sequence[Tensor | None], frame: Tensor
    ) -> tuple[Tensor]:
        """See :meth:`Alignment.align`."""
        no_state, no_flow = torch.zeros_like(states[0]), torch.zeros_like(flows[0])
        warped = [no_state if s is None else self.warp(s, flow) for s, flow in zip(states, flows, strict=True)]
        states = [no_state if state is None else state for state in states]
        flows = [no_flow if flow is None else flow for flow in flows]
        layers = self.layers(sweep)
        # In the order of the published weights.
        condition = layers.join((warped[0], frame, *warped[1:], *flows))
        return (layers(torch.cat(states, dim=1), condition, flows),)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
