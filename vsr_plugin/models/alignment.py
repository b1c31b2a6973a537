"""Alignment: what every one offers, and the choices: none, image, feature (section 3.1), deformable (BasicVSR++)."""

import math
from collections.abc import Sequence

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.models.component import ComponentTable
from vsr_plugin.models.propagation import Propagation, Sweep
from vsr_plugin.ops.deform_conv import ModulatedDeformConv
from vsr_plugin.ops.flow_warp import flow_warp

#: Alignments by the name that a network's ``alignment`` takes.
ALIGNMENTS = ComponentTable("alignment")


class Alignment(nn.Module):
    """Brings what was propagated from a neighbouring frame onto the current one: W in the paper.

    A subclass defines :meth:`forward`, and enters itself into :data:`ALIGNMENTS`; docs/components.md shows one. Layers
    that it makes in its constructor are trained and saved with the network, under ``alignment.``.

    Args:
        mid_channels: channels of the propagated features.
    """

    #: Whether it uses optical flow; only then the network has a ``spynet``.
    needs_flow = True
    #: Channels that a state carries behind its features; see :meth:`carry`.
    carried_channels = 0
    #: Bytes per pixel that aligning 64 channels in float32 takes beyond a warp; memory is planned by it.
    bytes_per_pixel = 0.0

    def __init__(self, mid_channels: int):
        super().__init__()
        self.mid_channels = mid_channels

    def serve(self, propagation: Propagation, frame_channels: int) -> None:
        """Be told, once and before all else, for which sweeps it is, and what the networks sees of a frame.

        An alignment that has layers for each sweep makes them here.

        Args:
            propagation: its sweeps.
            frame_channels: 3 where steps see the frame itself, those of its features in BasicVSR++.
        """

    def aligned_channels(self, order: int) -> tuple[int, ...]:
        """Channels of what :meth:`align` gives for a sweep of this order."""
        return (self.mid_channels + self.carried_channels,) * order

    def align(
        self, sweep: Sweep, states: Sequence[Tensor | None], flows: Sequence[Tensor | None], frame: Tensor
    ) -> tuple[Tensor, ...]:
        """Align the states of all neighbours that a step takes; here each by itself.

        Args:
            sweep: whose step it is.
            states: of the neighbours, the nearest first, as :meth:`carry` made them; ``None`` beyond where the
                sequence begins, but there is one at least.
            flows: from the current frame to each of them ``(n, 2, h, w)`` in pixels, ``None`` where there is no state.
            frame: what steps see of the current frame ``(n, frame_channels, h, w)``.

        Returns:
            Tensors of :meth:`aligned_channels`; zeros in the place of what there is not.
        """
        return tuple(
            states[0].new_zeros(states[0].shape) if state is None else self(state, flow, frame)
            for state, flow in zip(states, flows, strict=True)
        )

    def carry(self, feat: Tensor, lr: Tensor) -> Tensor:
        """The state that a frame hands on: its features, and behind them whatever else the next frame aligns.

        Args:
            feat: features of the frame ``(n, mid_channels, h, w)``.
            lr: the frame ``(n, 3, h, w)``.

        Returns:
            ``(n, mid_channels + carried_channels, h, w)``.
        """
        return feat

    def forward(self, state: Tensor, flow: Tensor | None, lr: Tensor) -> Tensor:
        """Align one state.

        Args:
            state: of the neighbouring frame, as :meth:`carry` made it.
            flow: from the current frame to that neighbour ``(n, 2, h, w)`` in pixels; nothing to rely on if the
                alignment needs none.
            lr: the current frame ``(n, 3, h, w)``.

        Returns:
            ``(n, mid_channels + carried_channels, h, w)``, which the residual blocks of the current frame take.
        """
        raise NotImplementedError

    def warp(self, x: Tensor, flow: Tensor) -> Tensor:
        """Sample ``x`` ``(n, c, h, w)`` at ``position + flow``, zero outside; see :func:`flow_warp`.

        A method so that accelerated networks can put their own in its place.
        """
        return flow_warp(x, flow)


@ALIGNMENTS.register("none")
class NoAlignment(Alignment):
    """``h̄_i = h_{i±1}``: the residual blocks have to find what belongs together; no optical flow is computed."""

    needs_flow = False

    def forward(self, state: Tensor, flow: Tensor | None, lr: Tensor) -> Tensor:
        """Pass the state on."""
        return state


@ALIGNMENTS.register("image")
class ImageAlignment(Alignment):
    """``h_i = R(x_i, h_{i±1}, W(x_{i±1}, s_i))``.

    The paper says that images are warped before anything is computed from them, rather than features, but not how
    the recurrence goes on. Taken here: the motion is compensated in the only images that a step sees, its frame and
    the neighbour, and the features pass without being warped. So a state carries its frame behind its features.
    """

    carried_channels = 3

    def carry(self, feat: Tensor, lr: Tensor) -> Tensor:
        """Features with their frame; in the frame's precision, since 8 bits do not fit into bfloat16."""
        return torch.cat((feat, lr), dim=1)

    def forward(self, state: Tensor, flow: Tensor, lr: Tensor) -> Tensor:
        """Warp the neighbouring frame and leave its features as they are."""
        feat, neighbour = state.split((self.mid_channels, 3), dim=1)
        return torch.cat((feat, self.warp(neighbour, flow)), dim=1)


@ALIGNMENTS.register("feature")
class FeatureAlignment(Alignment):
    """``h̄_i = W(h_{i±1}, s_i)``."""

    def forward(self, state: Tensor, flow: Tensor, lr: Tensor) -> Tensor:
        """Warp the features; zeros where the flow points outside the image."""
        return self.warp(state, flow)


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
