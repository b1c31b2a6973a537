"""Coupled propagation: the forward branch sees the backward one (section 3.2); IconVSR's choice."""

from vsr_plugin.models.propagation.propagation import PROPAGATIONS, Propagation, Sweep

_BACKWARD = Sweep("backward", reverse=True)
_FORWARD = Sweep("forward", sees=(_BACKWARD,))


@PROPAGATIONS.register("coupled")
class Coupled(Propagation):
    """``h^b_i = R_b(x_i, h̄^b_{i+1})``, ``h^f_i = R_f(x_i, h^b_i, h̄^f_{i-1})``, ``y_i = U(h^f_i)``."""

    sweeps = (_BACKWARD, _FORWARD)
    restored_from = (_FORWARD,)

    def __repr__(self) -> str:
        return "coupled"
