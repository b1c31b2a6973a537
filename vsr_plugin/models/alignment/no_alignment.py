"""No alignment: features are propagated as they are (section 3.1)."""

from torch import Tensor

from vsr_plugin.models.alignment.alignment import ALIGNMENTS, Alignment


@ALIGNMENTS.register("none")
class NoAlignment(Alignment):
    """``h̄_i = h_{i±1}``: the residual blocks have to find what belongs together; no optical flow is computed."""

    needs_flow = False

    def forward(self, state: Tensor, flow: Tensor | None, lr: Tensor) -> Tensor:
        """Pass the state on."""
        return state
