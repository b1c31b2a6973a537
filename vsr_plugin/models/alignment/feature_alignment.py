"""Feature alignment: the propagated features are warped with optical flow (section 3.1); BasicVSR's choice."""

from torch import Tensor

from vsr_plugin.models.alignment.alignment import ALIGNMENTS, Alignment


@ALIGNMENTS.register("feature")
class FeatureAlignment(Alignment):
    """``h̄_i = W(h_{i±1}, s_i)``."""

    def forward(self, state: Tensor, flow: Tensor, lr: Tensor) -> Tensor:
        """Warp the features; zeros where the flow points outside the image."""
        return self.warp(state, flow)
