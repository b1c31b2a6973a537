"""The steps of a network as modules to export; a runtime drives them over sequences of any length."""

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.export.onnx_layers import has_keyframes
from vsr_plugin.export.tracing import TRACE_SIZE, Part
from vsr_plugin.models.driver import StepInputs

_IMAGE_AXES = {0: "n", 2: "h", 3: "w"}


def backward_step(net: nn.Module, lr: Tensor, flow: Tensor, state: Tensor, refill: object | None) -> Tensor:
    """State of the backward branch at a frame; ``refill`` is what the network's ``refill`` takes for features."""
    return net.step(net.propagation.sweep("backward"), StepInputs(lr, (flow,), (state,), (), refill))


def forward_step(
    net: nn.Module, lr: Tensor, flow: Tensor, state: Tensor, backward_feat: Tensor, refill: object | None
) -> Tensor:
    """State of the forward branch at a frame."""
    sweep = net.propagation.sweep("forward")
    return net.step(sweep, StepInputs(lr, (flow,), (state,), (backward_feat,) if sweep.sees else (), refill))


def reconstruct(net: nn.Module, lr: Tensor, backward_feat: Tensor, forward_feat: Tensor) -> Tensor:
    """The HR frame from the states of both branches."""
    states = dict(backward=backward_feat, forward=forward_feat)
    return net.reconstruct(lr, *(states[sweep.name] for sweep in net.propagation.restored_from))


class _Step(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net


class Flow(_Step):
    """Flow from ``ref`` to ``supp``."""

    def forward(self, ref: Tensor, supp: Tensor) -> Tensor:
        return self.net.spynet(ref, supp)


class Refill(_Step):
    """Features of a keyframe from the frames around it."""

    def forward(self, window: Tensor) -> Tensor:
        return self.net.frame_feature(window)


class Clean(_Step):
    """What is added to a frame, given it between its neighbours."""

    def forward(self, neighbours: Tensor) -> Tensor:
        return self.net.cleaning.residue(neighbours)


class BackwardStep(_Step):
    """One frame of the backward branch; a zero state stands for the start of the sequence."""

    def forward(self, lr: Tensor, flow: Tensor, state: Tensor, *refill: Tensor) -> Tensor:
        return backward_step(self.net, lr, flow, state, refill or None)


class ForwardStep(_Step):
    """One frame of the forward branch; a zero state stands for the start of the sequence."""

    def forward(self, lr: Tensor, flow: Tensor, state: Tensor, backward_feat: Tensor, *refill: Tensor) -> Tensor:
        return forward_step(self.net, lr, flow, state, backward_feat, refill or None)


class Reconstruct(_Step):
    """The HR frame."""

    def forward(self, lr: Tensor, backward_feat: Tensor, forward_feat: Tensor) -> Tensor:
        return reconstruct(self.net, lr, backward_feat, forward_feat)


def example_inputs(net: nn.Module, h: int, w: int, n: int = 1) -> dict[str, Tensor]:
    """Tensors of every kind that steps take, by the name of the input; frames of noise, features near zero."""
    generator = torch.Generator().manual_seed(0)

    def image() -> Tensor:
        return torch.rand(n, 3, h, w, generator=generator)

    def feature() -> Tensor:
        return 0.2 * torch.randn(n, net.mid_channels, h, w, generator=generator)

    def run(length: int) -> Tensor:
        return torch.stack([image() for _ in range(length)], dim=1)

    inputs = dict(lr=image(), ref=image(), supp=image(), state=feature(), backward_feat=feature())
    inputs.update(forward_feat=feature(), flow=3 * torch.randn(n, 2, h, w, generator=generator))
    if has_keyframes(net):
        inputs.update(window=run(2 * net.padding + 1), refill=feature(), is_keyframe=torch.tensor(True))
    if net.cleaning is not None:
        inputs.update(neighbours=run(2 * net.cleaning.radius + 1))
    return inputs


def make_parts(net: nn.Module) -> dict[str, Part]:
    """The steps of a network by the name of their file.

    ``clean`` (with a cleaning), ``flow``, ``refill`` (with keyframes), ``backward_step``, ``forward_step``,
    ``reconstruct``.

    Args:
        net: a copy by :func:`vsr_plugin.export.onnx_layers.exportable_copy`.
    """
    examples = example_inputs(net, *TRACE_SIZE, n=2)
    refill = ("refill", "is_keyframe") if has_keyframes(net) else ()

    def part(module: nn.Module, inputs: tuple[str, ...], output: str, batches: bool = False) -> Part:
        axes = dict.fromkeys((*inputs, output), _IMAGE_AXES)
        axes.update({name: {0: "n", 3: "h", 4: "w"} for name in inputs if name in ("window", "neighbours")})
        axes.pop("is_keyframe", None)
        if output == "hr":
            axes["hr"] = {0: "n", 2: "hr_h", 3: "hr_w"}
        return Part(module, {name: examples[name] for name in inputs}, (output,), axes, batches)

    parts = dict(
        clean=None if net.cleaning is None else part(Clean(net), ("neighbours",), "residue"),
        flow=part(Flow(net), ("ref", "supp"), "flow"),
        refill=part(Refill(net), ("window",), "refill", batches=True) if refill else None,
        backward_step=part(BackwardStep(net), ("lr", "flow", "state", *refill), "backward_feat"),
        forward_step=part(ForwardStep(net), ("lr", "flow", "state", "backward_feat", *refill), "forward_feat"),
        reconstruct=part(Reconstruct(net), ("lr", "backward_feat", "forward_feat"), "hr"),
    )
    return {name: made for name, made in parts.items() if made is not None}
