"""Grid propagation: backward and forward, and both again (BasicVSR++, arXiv 2104.13371, section 3.1)."""

from vsr_plugin.models.propagation.propagation import PROPAGATIONS, Propagation, Sweep


def _grid(order: int) -> tuple[Sweep, ...]:
    """Four sweeps, each of which sees those before it."""
    sweeps: tuple[Sweep, ...] = ()
    for name in ("backward_1", "forward_1", "backward_2", "forward_2"):
        sweeps = (*sweeps, Sweep(name, reverse=name.startswith("backward"), order=order, sees=sweeps))
    return sweeps


@PROPAGATIONS.register("grid")
class Grid(Propagation):
    """``h^j_i = R_j(x_i, h^1_i, ..., h^{j-1}_i, h̄^j_{i±1})`` for four sweeps ``j``, ``y_i = U(h^1_i, ..., h^4_i)``."""

    sweeps = restored_from = _grid(order=1)

    def __repr__(self) -> str:
        return "grid"


@PROPAGATIONS.register("second_order_grid")
class SecondOrderGrid(Grid):
    """The same with the states of two neighbours, ``h̄^j_{i±1}`` and ``h̄^j_{i±2}``; BasicVSR++'s choice."""

    sweeps = restored_from = _grid(order=2)

    def __repr__(self) -> str:
        return "second-order grid"
