"""Bidirectional propagation: each frame learns from all others, by two branches (section 3.1); BasicVSR's choice."""

from vsr_plugin.models.propagation.propagation import PROPAGATIONS, Propagation, Sweep


@PROPAGATIONS.register("bidirectional")
class Bidirectional(Propagation):
    """``h^b_i = R_b(x_i, h̄^b_{i+1})``, ``h^f_i = R_f(x_i, h̄^f_{i-1})``, ``y_i = U(h^b_i, h^f_i)``."""

    sweeps = restored_from = (Sweep("backward", reverse=True), Sweep("forward"))

    def __repr__(self) -> str:
        return "bidirectional"
