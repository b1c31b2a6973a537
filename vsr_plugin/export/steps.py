"""The steps of a network as modules to export; a runtime drives them over sequences of any length."""

from collections.abc import Mapping
from types import SimpleNamespace

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.export.schedule import feat_name, numbered, step_name
from vsr_plugin.export.tracing import TRACE_SIZE, Part, counts_states, feature_plan, has_keyframes
from vsr_plugin.models.driver import StepInputs, Sweep
from vsr_plugin.models.vsr_net import VSRNet

#: Beginnings and ends of the names of what has the size of features; that of frames only where they are not reduced.
_OF_FEATURES = ("flow", "state", "feature"), ("_feat", "_feats")


def open_axes(net: VSRNet, name: str, *before: str | None) -> dict[int, str]:
    """Names of the open axes of a tensor, by position.

    Args:
        net: the network.
        name: of the tensor.
        before: names of the axes before channels, height and width; ``None`` for one of a fixed length.
    """
    beginnings, ends = _OF_FEATURES
    of_features = net.feature_stride > 1 and (name.startswith(beginnings) or name.endswith(ends))
    kind = "hr_" if name.startswith("hr") else "feature_" if of_features else ""
    axes = {k: axis for k, axis in enumerate(before) if axis}
    return {**axes, len(before) + 1: f"{kind}h", len(before) + 2: f"{kind}w"}


def feature_names(net: VSRNet) -> list[str]:
    """Of what a step takes of a frame's own features."""
    return ["feature"] * (feature_plan(net) is not None) + ["is_keyframe"] * has_keyframes(net)


def step_names(net: VSRNet, sweep: Sweep) -> list[str]:
    """Of what a step takes, in the order of the exported model's inputs."""
    flows = numbered("flow", sweep.order) if net.alignment.needs_flow else []
    count = ["num_states"] * counts_states(net)
    seen = [feat_name(other) for other in sweep.sees]
    return ["lr", *flows, *numbered("state", sweep.order), *count, *seen, *feature_names(net)]


def run_step(net: VSRNet, sweep: Sweep, given: Mapping[str, Tensor]) -> Tensor:
    """State of a sweep at a frame, from tensors by name.

    Args:
        net: a copy by :func:`vsr_plugin.export.tracing.exportable_copy`.
        sweep: whose step it is.
        given: what :func:`step_names` names.
    """
    states = [given[name] for name in numbered("state", sweep.order)]
    # Without flow nothing is read of it but that there is some.
    flows = [given.get(name, given["lr"][:, :0]) for name in numbered("flow", sweep.order)]
    if "num_states" in given:
        states = [(state, given["num_states"] > k) for k, state in enumerate(states)]
    seen = tuple(given[feat_name(other)] for other in sweep.sees)
    feature = given.get("feature")
    if "is_keyframe" in given:
        feature = feature, given["is_keyframe"]
    return net.step(sweep, StepInputs(given["lr"], tuple(flows), tuple(states), seen, feature))


def reconstruct_names(net: VSRNet) -> list[str]:
    """Of what reconstruction takes, in the order of the exported model's inputs."""
    return ["lr", *feature_names(net)[:1], *(feat_name(sweep) for sweep in net.propagation.restored_from)]


def reconstruct(net: VSRNet, given: Mapping[str, Tensor]) -> Tensor:
    """The HR frame, from tensors that :func:`reconstruct_names` names."""
    store = SimpleNamespace(lr=lambda i: given["lr"], feature=lambda i: given["feature"])
    return net.begin_frame(store, 0, {sweep: given[feat_name(sweep)] for sweep in net.propagation.restored_from})()


class Named(nn.Module):
    """Of a network, what takes tensors by name.

    Args:
        net: the network.
        names: of the tensors, in order.
    """

    def __init__(self, net: VSRNet, names: list[str]):
        super().__init__()
        self.net, self.names = net, names

    def by_name(self, tensors: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The tensors, each with its name."""
        return dict(zip(self.names, tensors, strict=True))


class Flow(nn.Module):
    """Flow from ``ref`` to ``supp``."""

    def __init__(self, net: VSRNet):
        super().__init__()
        self.net = net

    def forward(self, ref: Tensor, supp: Tensor) -> Tensor:
        return self.net.spynet(*self.net.flow_frames(torch.stack((ref, supp), dim=1)).unbind(1))


class Feature(nn.Module):
    """Features of a frame from those around it."""

    def __init__(self, net: VSRNet):
        super().__init__()
        self.net = net

    def forward(self, window: Tensor) -> Tensor:
        return self.net.frame_feature(window)


class Clean(nn.Module):
    """What is added to a frame, given it between its neighbours."""

    def __init__(self, net: VSRNet):
        super().__init__()
        self.cleaning = net.cleaning

    def forward(self, neighbours: Tensor) -> Tensor:
        return self.cleaning.residue(neighbours)


class Step(Named):
    """One frame of a sweep."""

    def __init__(self, net: VSRNet, sweep: Sweep):
        super().__init__(net, step_names(net, sweep))
        self.sweep = sweep

    def forward(self, *tensors: Tensor) -> Tensor:
        return run_step(self.net, self.sweep, self.by_name(tensors))


class Reconstruct(Named):
    """The HR frame."""

    def __init__(self, net: VSRNet):
        super().__init__(net, reconstruct_names(net))

    def forward(self, *tensors: Tensor) -> Tensor:
        return reconstruct(self.net, self.by_name(tensors))


def example_inputs(net: VSRNet, h: int, w: int, n: int = 1) -> dict[str, Tensor]:
    """Tensors of every kind that steps take, by the name of the input; frames of noise, features near zero."""
    generator = torch.Generator().manual_seed(0)

    def image() -> Tensor:
        return torch.rand(n, 3, h, w, generator=generator)

    def of_features(channels: int) -> Tensor:
        sides = h // net.feature_stride, w // net.feature_stride
        return torch.randn(n, channels, *sides, generator=generator)

    def run(length: int) -> Tensor:
        return torch.stack([image() for _ in range(length)], dim=1)

    sweeps = net.propagation.sweeps
    order = max(sweep.order for sweep in sweeps)
    inputs = dict(lr=image(), ref=image(), supp=image(), num_states=torch.tensor(order))
    states = [*numbered("state", order), *map(feat_name, sweeps)]
    inputs.update({name: 0.2 * of_features(net.state_channels) for name in states})
    inputs.update({name: 3 * of_features(2) for name in numbered("flow", order)})
    if plan := feature_plan(net):
        inputs.update(window=run(2 * plan[1] + 1), is_keyframe=torch.tensor(True))
        inputs.update(feature=0.2 * of_features(net.mid_channels))
    if net.cleaning is not None:
        inputs.update(neighbours=run(2 * net.cleaning.radius + 1))
    return inputs


def make_parts(net: VSRNet) -> dict[str, Part]:
    """The steps of a network by the name of their file.

    ``clean`` (with a cleaning), ``flow``, ``feature`` (where frames have features of their own), a step for every
    sweep such as ``backward_step``, ``reconstruct``.

    Args:
        net: a copy by :func:`vsr_plugin.export.tracing.exportable_copy`.
    """
    examples = example_inputs(net, *TRACE_SIZE, n=2)

    def part(module: nn.Module, inputs: list[str], output: str, batches: bool = False) -> Part:
        axes = {name: open_axes(net, name, "n") for name in (*inputs, output)}
        axes.update({name: open_axes(net, name, "n", None) for name in inputs if examples[name].dim() == 5})
        axes = {name: of for name, of in axes.items() if name not in examples or examples[name].dim()}
        return Part(module, {name: examples[name] for name in inputs}, (output,), axes, batches)

    parts = {}
    if net.cleaning is not None:
        parts["clean"] = part(Clean(net), ["neighbours"], "residue")
    if net.alignment.needs_flow:
        parts["flow"] = part(Flow(net), ["ref", "supp"], "flow")
    if feature_plan(net):
        parts["feature"] = part(Feature(net), ["window"], "feature", batches=True)
    for sweep in net.propagation.sweeps:
        parts[step_name(sweep)] = part(Step(net, sweep), step_names(net, sweep), feat_name(sweep))
    parts["reconstruct"] = part(Reconstruct(net), reconstruct_names(net), "hr")
    return parts
