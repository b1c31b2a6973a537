"""Propagation: what every one declares, and the choices there are (section 3.1 of the paper, and BasicVSR++)."""

import copy
from itertools import pairwise

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.errors import ComponentError
from vsr_plugin.models.component import ComponentTable
from vsr_plugin.ops.sweeps import Sweep

#: Propagations by the name that a network's ``propagation`` takes.
PROPAGATIONS = ComponentTable("propagation")


class Propagation:
    """Which sweeps a network makes, what each sees, and over which frames they run.

    It holds no layers and no state; the network owns residual blocks for each sweep, such as ``forward_resblocks``, and
    ``fusion`` where an HR frame is restored from several sweeps.
    """

    #: In the order in which they are made; the last goes forward, so that frames are handed out in order.
    sweeps: tuple[Sweep, ...]
    #: Sweeps whose states an HR frame is restored from; more than one are fused first.
    restored_from: tuple[Sweep, ...]
    #: Whether :meth:`segments` gives more than one run, so that what a frame sees depends on the sequence's length.
    cuts_sequences = False

    @property
    def has_backward(self) -> bool:
        """Whether there is a branch that runs backward in time."""
        return any(sweep.reverse for sweep in self.sweeps)

    def sweep(self, name: str) -> Sweep:
        """The sweep of that name; ``StopIteration`` if there is none."""
        return next(sweep for sweep in self.sweeps if sweep.name == name)

    @property
    def independent_branches(self) -> bool:
        """Whether there are several sweeps, and none sees another, so that they may run at once."""
        return len(self.sweeps) > 1 and not any(sweep.sees for sweep in self.sweeps)

    def segments(self, t: int) -> list[range]:
        """Runs of frames of a ``t``-frame sequence that are propagated apart from each other; here, all in one."""
        return [range(t)]


@PROPAGATIONS.register("unidirectional")
class Unidirectional(Propagation):
    """``h^f_i = R_f(x_i, h̄^f_{i-1})``, ``y_i = U(h^f_i)``: causal, so that it could run live."""

    sweeps = restored_from = (Sweep("forward"),)

    def __repr__(self) -> str:
        return "unidirectional"


@PROPAGATIONS.register("bidirectional")
class Bidirectional(Propagation):
    """``h^b_i = R_b(x_i, h̄^b_{i+1})``, ``h^f_i = R_f(x_i, h̄^f_{i-1})``, ``y_i = U(h^b_i, h^f_i)``."""

    sweeps = restored_from = (Sweep("backward", reverse=True), Sweep("forward"))

    def __repr__(self) -> str:
        return "bidirectional"


@PROPAGATIONS.register("local")
class Local(Bidirectional):
    """Bidirectional within each of K segments of a sequence.

    Args:
        segments: K; sequences of fewer frames are cut into single frames.

    Raises:
        ComponentError: K is less than 1.
    """

    cuts_sequences = True

    def __init__(self, segments: int):
        if segments < 1:
            raise ComponentError(f"`segments` must be at least 1, got {segments}")
        self.number = segments

    def segments(self, t: int) -> list[range]:
        """K runs of frames whose lengths differ by one at most.

        Example:
            >>> Local(3).segments(8)
            [range(0, 2), range(2, 5), range(5, 8)]
        """
        number = min(self.number, t)
        edges = [t * k // number for k in range(number + 1)]
        return [range(start, stop) for start, stop in pairwise(edges)]

    def __repr__(self) -> str:
        return f"local, {self.number} segments"


_BACKWARD = Sweep("backward", reverse=True)
_FORWARD = Sweep("forward", sees=(_BACKWARD,))


@PROPAGATIONS.register("coupled")
class Coupled(Propagation):
    """``h^b_i = R_b(x_i, h̄^b_{i+1})``, ``h^f_i = R_f(x_i, h^b_i, h̄^f_{i-1})``, ``y_i = U(h^f_i)``."""

    sweeps = (_BACKWARD, _FORWARD)
    restored_from = (_FORWARD,)

    def __repr__(self) -> str:
        return "coupled"


@PROPAGATIONS.register("second_order")
class SecondOrder(Propagation):
    """Bidirectional, ``h^b_i = R_b(x_i, h̄^b_{i+1}, h̄^b_{i+2})`` and likewise forward, ``y_i = U(h^b_i, h^f_i)``."""

    sweeps = restored_from = (Sweep("backward", reverse=True, order=2), Sweep("forward", order=2))

    def __repr__(self) -> str:
        return "second-order"


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


#: Motion in LR pixels per frame at which the share has fallen to 1/e; about the error of the flow where nothing moves.
_STILL = 0.1


def forget(feat: Tensor, flow: Tensor, rate: float) -> Tensor:
    """Weaken features that were propagated to pixels that do not move: times ``1 - rate * exp(-|flow|^2 / 0.1^2)``.

    Recurrent networks trained on short sequences diverge on long ones with little motion: high frequencies build up in
    what is propagated until they drown the picture (Chiche et al., Stable Long-Term Recurrent Video Super-Resolution,
    CVPR 2022, arXiv 2112.08950). BasicVSR and IconVSR as published do. The remedy here is ours and needs no training: a
    pixel that stands still sees the same sample of the scene in every frame, so that frames of long ago have nothing to
    add to it.

    Args:
        feat: aligned features ``(n, c, h, w)``.
        flow: that they were aligned with ``(n, 2, h, w)``, in LR pixels.
        rate: share that is lost where the flow is zero, in [0, 1).
    """
    stillness = torch.exp(flow.float().square().sum(dim=1, keepdim=True) / -(_STILL**2))
    return feat * (1 - rate * stillness).to(feat.dtype)


def check_forgetting(rate: float, *, has_flow: bool) -> float:
    """``rate`` itself, if a network can forget at it.

    Raises:
        ComponentError: it is not in [0, 1), or the network has no flow to tell what moves.
    """
    if not 0 <= rate < 1:
        raise ComponentError(f"forgetting {rate} is no share of what is propagated; use 0 (none) to less than 1")
    if rate and not has_flow:
        raise ComponentError("forgetting needs optical flow to tell what moves, and this alignment has none; use 0")
    return float(rate)


def with_forgetting(net: nn.Module, rate: float) -> nn.Module:
    """The same network with another rate of forgetting; it shares its parameters with ``net``, which stays as it is.

    Args:
        net: a ``VSRNet``.
        rate: share of a still pixel's propagated features that is lost per frame; 0 for the paper's propagation.

    Raises:
        ComponentError: see :func:`check_forgetting`.
    """
    other = copy.copy(net)
    other.forgetting = check_forgetting(rate, has_flow=net.alignment.needs_flow)
    return other
