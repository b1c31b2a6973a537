"""A step of a branch by what it takes, for tests of networks whose steps take one neighbour's state."""

from collections.abc import Callable

from torch import Tensor, nn

from vsr_plugin.models.driver import StepInputs


def backward_step(net: nn.Module, lr: Tensor, flow=None, state=None, refill=None) -> Tensor:
    """State of the backward branch."""
    return net.step(net.propagation.sweep("backward"), StepInputs(lr, (flow,), (state,), (), refill))


def forward_step(net: nn.Module, lr: Tensor, flow=None, state=None, backward_feat=None, refill=None) -> Tensor:
    """State of the forward branch."""
    sweep = net.propagation.sweep("forward")
    return net.step(sweep, StepInputs(lr, (flow,), (state,), (backward_feat,) if sweep.sees else (), refill))


def align(net: nn.Module, state: Tensor | None, flow: Tensor | None, lr: Tensor) -> Tensor:
    """A state brought onto the current frame."""
    (aligned,) = net.align(net.propagation.sweeps[-1], lr, (flow,), (state,))
    return aligned


def replace_steps(patch, target: nn.Module | type, name: str, function: Callable[..., Tensor]) -> None:
    """Have ``function(plain, *arguments)`` take the steps of one branch of a network, or of all of its class."""
    plain = target.step

    def step(*arguments):
        branch = arguments[-2].name
        return function(plain, *arguments) if branch == name else plain(*arguments)

    patch.setattr(target, "step", step)


def reconstruct(net: nn.Module, lr: Tensor, backward_feat: Tensor | None, forward_feat: Tensor) -> Tensor:
    """The HR frame from the states of both branches, of which coupled propagation takes one."""
    states = dict(backward=backward_feat, forward=forward_feat)
    return net.reconstruct(lr, *(states[sweep.name] for sweep in net.propagation.restored_from))
