"""What every alignment offers, and the table of those there are."""

from collections.abc import Sequence

import torch.nn as nn
from torch import Tensor

from vsr_plugin.models.component_table import ComponentTable
from vsr_plugin.models.propagation.propagation import Propagation, Sweep
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
