"""Second-order propagation: a step takes the states of two neighbours (BasicVSR++, arXiv 2104.13371, section 3.1)."""

from vsr_plugin.models.propagation.propagation import PROPAGATIONS, Propagation, Sweep


@PROPAGATIONS.register("second_order")
class SecondOrder(Propagation):
    """Bidirectional, ``h^b_i = R_b(x_i, h̄^b_{i+1}, h̄^b_{i+2})`` and likewise forward, ``y_i = U(h^b_i, h^f_i)``."""

    sweeps = restored_from = (Sweep("backward", reverse=True, order=2), Sweep("forward", order=2))

    def __repr__(self) -> str:
        return "second-order"
