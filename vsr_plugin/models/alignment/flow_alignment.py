"""The alignment component: features of a neighbouring frame warped with optical flow (section 3.1)."""

import torch
from torch import Tensor

from vsr_plugin.models.alignment.flow_warp import flow_warp
from vsr_plugin.models.alignment.spynet import SPyNet
from vsr_plugin.models.base_module import pretrained


class FlowAlignment:
    """Feature alignment, mixed into a network: SPyNet estimates flow, the propagated features are warped.

    Provides the step :meth:`estimate_flows` and, inside the propagation steps, :meth:`align`. The network gets
    the submodule ``spynet``.
    """

    spynet: SPyNet
    mid_channels: int

    def build_alignment(self, spynet_pretrained: str | None) -> None:
        """Add the flow network; ``spynet_pretrained`` is loaded by ``init_weights()``."""
        self.spynet = SPyNet(init_cfg=pretrained(spynet_pretrained))

    def estimate_flows(self, lrs: Tensor) -> tuple[Tensor, Tensor]:
        """Flows between neighbouring frames, both directions: S in the paper.

        Autocast does not reach the flow network: in bfloat16 an error of whole pixels would cost 20 dB.

        Args:
            lrs: RGB in [0, 1], ``(n, t, 3, h, w)``.

        Returns:
            ``(flows_forward, flows_backward)``, each ``(n, t - 1, 2, h, w)`` in pixels; see
            :meth:`SPyNet.neighbour_flows`.
        """
        with torch.autocast(lrs.device.type, enabled=False):
            return self.spynet.neighbour_flows(lrs)

    def align(self, state: Tensor | None, flow: Tensor | None, lr: Tensor) -> Tensor:
        """Warp the propagated features onto the current frame: W in the paper.

        Args:
            state: features of the neighbouring frame ``(n, c, h, w)``, or ``None`` at the start of a sequence.
            flow: from the current frame to that neighbour ``(n, 2, h, w)``; ignored at the start.
            lr: current frame ``(n, 3, h, w)``, which gives size, device and dtype at the start.

        Returns:
            ``(n, c, h, w)``; zeros at the start, and where the flow points outside the image.
        """
        if state is None:
            n, _, h, w = lr.shape
            return lr.new_zeros(n, self.mid_channels, h, w)
        return flow_warp(state, flow)
