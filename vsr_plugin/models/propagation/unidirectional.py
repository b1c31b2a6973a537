"""Unidirectional propagation: each frame learns from those before it (section 3.1)."""

from vsr_plugin.models.propagation.propagation import PROPAGATIONS, Propagation, Sweep


@PROPAGATIONS.register("unidirectional")
class Unidirectional(Propagation):
    """``h^f_i = R_f(x_i, h̄^f_{i-1})``, ``y_i = U(h^f_i)``: causal, so that it could run live."""

    sweeps = restored_from = (Sweep("forward"),)

    def __repr__(self) -> str:
        return "unidirectional"
