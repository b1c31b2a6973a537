"""Coupled propagation: the forward branch sees the backward one (section 3.2); IconVSR's choice."""

from torch import Tensor

from vsr_plugin.models.propagation.propagation import PROPAGATIONS, Propagation


@PROPAGATIONS.register("coupled")
class Coupled(Propagation):
    """``h^b_i = R_b(x_i, h̄^b_{i+1})``, ``h^f_i = R_f(x_i, h^b_i, h̄^f_{i-1})``, ``y_i = U(h^f_i)``."""

    forward_inputs = 2

    def seen_forward(self, backward_feat: Tensor, aligned: Tensor) -> tuple[Tensor, ...]:
        """The backward features of the frame, and the branch's own."""
        return backward_feat, aligned

    def __repr__(self) -> str:
        return "coupled"
