"""One ONNX graph for whole sequences of open length: the driver's steps inside ``Scan`` loops over time."""

import hashlib
import itertools
from collections.abc import Mapping

import numpy as np
import onnx
import torch
import torch.nn as nn
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, compose, helper
from torch import Tensor

from vsr_plugin.export.schedule import feat_name, numbered, step_name
from vsr_plugin.export.steps import (
    Flow,
    Named,
    example_inputs,
    open_axes,
    reconstruct,
    reconstruct_names,
    run_step,
    step_names,
)
from vsr_plugin.export.tracing import TRACE_SIZE, Part, counts_states, feature_plan, trace
from vsr_plugin.models.cleaning import Cleaning
from vsr_plugin.models.driver import Sweep
from vsr_plugin.models.vsr_net import VSRNet


def keyframe_plan(t: int | Tensor, keyframe_stride: int, padding: int) -> tuple[Tensor, Tensor, Tensor]:
    """Keyframes of a sequence whose length is open in the graph.

    The same as ``keyframe_indices`` and ``neighbourhood_indices`` in arithmetic of whole tensors, which can be
    traced; a test compares them.

    Returns:
        ``(windows, number, is_keyframe)``: the frames around each of ``k`` keyframes ``(k, 2 * padding + 1)``; for
        each frame the number of the last keyframe up to it ``(t,)``; and whether it is one ``(t,)``.
    """
    t = torch.as_tensor(t)
    frame = torch.arange(t)
    is_keyframe = (frame % keyframe_stride == 0) | (frame == t - 1)
    number = is_keyframe.long().cumsum(0) - 1
    j = is_keyframe.nonzero() + torch.arange(-padding, padding + 1)
    beyond = torch.maximum(-j, j - (t - 1))
    near = torch.where(j < 0, beyond + padding, t - 1 - beyond - padding)
    period = (2 * (t - 1)).clamp(min=1)
    reflected = torch.minimum(j % period, period - j % period)
    windows = torch.where(beyond <= 0, j, torch.where(beyond + padding <= t - 1, near, reflected))
    return windows, number, is_keyframe


def mirror_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """``pad_to_multiple`` for sizes that are open in the graph: ``mirrored_indices`` in arithmetic of whole tensors."""
    for axis in (-2, -1):
        length = images.shape[axis]
        index = torch.arange(length + -length % multiple, device=images.device)
        reflected = (2 * (length - 1) - index).clamp(min=0)
        images = images.index_select(axis, torch.where(index < length, index, reflected))
    return images


class Neighbours(nn.Module):
    """Frames in time-major order, and for each the numbers of those that its cleaning looks at."""

    def __init__(self, radius: int):
        super().__init__()
        self.radius = radius

    def forward(self, lrs: Tensor) -> tuple[Tensor, Tensor]:
        t = torch.as_tensor(lrs.shape[1])
        around = torch.arange(t)[:, None] + torch.arange(-self.radius, self.radius + 1)
        return lrs.transpose(0, 1), torch.minimum(around.clamp(min=0), t - 1)


class CleanLoop(nn.Module):
    """One frame, cleaned, and its mean absolute residue."""

    def __init__(self, cleaning: nn.Module):
        super().__init__()
        self.cleaning = cleaning

    def forward(self, neighbours: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        window = frames.index_select(0, neighbours).transpose(0, 1)
        residue = self.cleaning.residue(window)
        return window[:, self.cleaning.radius] + self.cleaning.strength * residue, residue.abs().mean()


class Begin(nn.Module):
    """Frames in time-major order, extended as the network needs, and what the loops begin with."""

    def __init__(self, net: VSRNet):
        super().__init__()
        self.net = net

    def forward(self, lrs: Tensor) -> tuple[Tensor, ...]:
        net = self.net
        frames = mirror_to_multiple(lrs, net.size_multiple).transpose(0, 1)
        n, _, h, w = frames[0].shape
        h, w = h // net.feature_stride, w // net.feature_stride
        begin = [
            frames,
            frames[0],
            frames[-1],
            frames.new_zeros(n, net.state_channels, h, w),
            frames.new_zeros(n, 2, h, w),
        ]
        if plan := feature_plan(net):
            begin.extend(keyframe_plan(lrs.shape[1], *plan))
        return tuple(begin)


class FlowLoop(Flow):
    """Flow from one frame to the one before it in the order of the loop."""

    def forward(self, other: Tensor, lr: Tensor) -> tuple[Tensor, Tensor]:
        return lr.clone(), super().forward(lr, other)


class FeatureLoop(nn.Module):
    """Features of one frame."""

    def __init__(self, net: VSRNet):
        super().__init__()
        self.net = net

    def forward(self, window: Tensor, frames: Tensor) -> Tensor:
        return self.net.frame_feature(frames.index_select(0, window).transpose(0, 1))


class SweepLoop(Named):
    """One frame of a sweep, restored if it is the last: what the next round begins with, and what comes out.

    Where the sequence begins, the flow is that of the frame to itself. It does not matter: zeros are warped to zeros,
    and where zeros do not stand for missing states, these are counted.

    Args:
        net: the network.
        sweep: whose loop it is.
        carried: names of what goes from one round to the next.
        others: names of what else it takes.
    """

    def __init__(self, net: VSRNet, sweep: Sweep, carried: list[str], others: list[str]):
        super().__init__(net, [*carried, *others])
        self.sweep, self.carried = sweep, carried
        self.is_last = sweep is net.propagation.sweeps[-1]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = self.by_name(tensors)
        if "features" in given:  # of the last frame up to this one that has some
            given["feature"] = given.pop("features")[given.pop("number")]
        state = run_step(self.net, self.sweep, given)
        out = reconstruct(self.net, {**given, feat_name(self.sweep): state}) if self.is_last else state.clone()
        following = dict(state=state)
        for kind in ("state", "flow"):
            names = numbered(kind, self.sweep.order)
            following.update(
                {later: given[name].clone() for name, later in itertools.pairwise(names) if later in self.carried}
            )
        if "num_states" in given:
            following["num_states"] = (given["num_states"] + 1).clamp(max=self.sweep.order)
        return (*(following[name] for name in self.carried), out)


class Finish(nn.Module):
    """HR frames in batch-major order, cut to the size that was asked for."""

    def __init__(self, scale: int):
        super().__init__()
        self.scale = scale

    def forward(self, lrs: Tensor, hr_frames: Tensor) -> Tensor:
        h, w = lrs.shape[-2:]
        return hr_frames.transpose(0, 1)[..., : self.scale * h, : self.scale * w]


def carried_names(net: VSRNet, sweep: Sweep) -> list[str]:
    """What goes from one round of a sweep's loop to the next."""
    flows = numbered("flow", sweep.order)[1:] if net.alignment.needs_flow else []
    return [*numbered("state", sweep.order), *flows, *["num_states"] * counts_states(net)]


def make_loops(net: VSRNet) -> dict[str, Part]:
    """The modules of a network's whole-sequence graph.

    Args:
        net: a copy by :func:`vsr_plugin.export.tracing.exportable_copy`.
    """
    h, w = TRACE_SIZE
    examples = example_inputs(net, h, w, n=2)
    lrs = torch.rand(2, 4, 3, h, w)
    frames = lrs.transpose(0, 1)
    open_lrs, open_frames = open_axes(net, "lrs", "n", "t"), open_axes(net, "frames", "t", "n")

    begin_axes = dict(lrs=open_lrs, frames=open_frames)
    begin_axes.update({name: open_axes(net, name, "n") for name in ("first", "last", "state", "flow")})
    if feature_plan(net):
        begin_axes.update(windows={0: "k"}, numbers={0: "t"}, are_keyframes={0: "t"})
    loops = dict(begin=Part(Begin(net), dict(lrs=lrs), tuple(begin_axes)[1:], begin_axes))
    if net.cleaning is not None:
        radius = net.cleaning.radius
        neighbours = torch.arange(2 * radius + 1) % 4
        loops["neighbours"] = Part(
            Neighbours(radius), dict(lrs=lrs), ("frames", "neighbours"),
            dict(lrs=open_lrs, frames=open_frames, neighbours={0: "t"}),
        )  # fmt: skip
        loops["clean"] = Part(
            CleanLoop(net.cleaning), dict(neighbours=neighbours, frames=frames), ("cleaned", "residue"),
            dict(frames=open_frames, cleaned=open_axes(net, "cleaned", "n")),
        )  # fmt: skip
    if net.alignment.needs_flow:
        names = ("next_other", "flow")
        loops["flow"] = Part(
            FlowLoop(net), dict(other=frames[1], lr=frames[0]), names,
            {name: open_axes(net, name, "n") for name in ("other", "lr", *names)},
        )  # fmt: skip
    if plan := feature_plan(net):
        window = torch.arange(2 * plan[1] + 1) % 4
        loops["feature"] = Part(
            FeatureLoop(net), dict(window=window, frames=frames), ("feature",),
            dict(frames=open_frames, feature=open_axes(net, "feature", "n")), batches=True,
        )  # fmt: skip
    for sweep in net.propagation.sweeps:
        loops[step_name(sweep)] = _sweep_loop(net, sweep, examples)
    scale = net.scale
    loops["finish"] = Part(
        Finish(scale), dict(lrs=lrs, hr_frames=torch.rand(4, 2, 3, scale * h, scale * w)), ("hrs",),
        dict(lrs=open_lrs, hr_frames=open_axes(net, "hr_frames", "t", "n"), hrs=open_axes(net, "hrs", "n", "t")),
    )  # fmt: skip
    return loops


def _sweep_loop(net: VSRNet, sweep: Sweep, examples: dict[str, Tensor]) -> Part:
    carried = carried_names(net, sweep)
    names = [*carried, *step_names(net, sweep)]
    if sweep is net.propagation.sweeps[-1]:
        names += [name for name in reconstruct_names(net) if name != feat_name(sweep)]
    inputs = {name: examples[name] for name in names}
    if feature_plan(net):
        feature = inputs.pop("feature")
        inputs.update(number=torch.tensor(1), features=torch.stack((feature, feature)))
    axes = {name: open_axes(net, name, "n") for name, tensor in inputs.items() if tensor.dim()}
    if "features" in axes:
        axes["features"] = open_axes(net, "features", "k", "n")
    loop = SweepLoop(net, sweep, carried, [*inputs][len(carried) :])
    out = "hr" if loop.is_last else feat_name(sweep)
    axes.update({f"next_{name}": axes[name] for name in carried if name in axes})
    outputs = (*(f"next_{name}" for name in carried), f"out_{out}")
    return Part(loop, inputs, outputs, {**axes, outputs[-1]: open_axes(net, out, "n")})


class _Assembly:
    """Nodes and weights of a graph under construction; a weight that several loops use is held once."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self._by_content: dict[bytes, str] = {}

    def _keep(self, weight: TensorProto) -> str:
        content = hashlib.sha256(repr((weight.data_type, list(weight.dims))).encode())
        content.update(onnx.numpy_helper.to_array(weight).tobytes())
        if content.digest() not in self._by_content:
            self.weights.append(weight)
            self._by_content[content.digest()] = weight.name
        return self._by_content[content.digest()]

    def take_in(self, model: ModelProto, prefix: str, given: Mapping[str, str]) -> GraphProto:
        """A traced graph under names of its own that reads weights, and the inputs in ``given``, from around it."""
        graph = compose.add_prefix(model, f"{prefix}/").graph
        outside = {f"{prefix}/{name}": value for name, value in given.items()}
        outside.update({weight.name: self._keep(weight) for weight in graph.initializer})
        for node in graph.node:
            for k, name in enumerate(node.input):
                node.input[k] = outside.get(name, name)
        inputs = [value for value in graph.input if value.name not in outside]
        outputs = list(graph.output)
        return helper.make_graph(list(graph.node), prefix, inputs, outputs)

    def inline(self, model: ModelProto, prefix: str, given: Mapping[str, str]) -> None:
        """Add a traced graph's nodes; its outputs are then called ``prefix/name``."""
        self.nodes.extend(self.take_in(model, prefix, given).node)

    def scan(
        self,
        model: ModelProto,
        prefix: str,
        *,
        states: Mapping[str, str],
        sequences: Mapping[str, str],
        given: Mapping[str, str],
        outputs: list[str],
        reverse: bool = False,
    ) -> None:
        """Add a loop over the first axis of ``sequences``.

        Args:
            model: the body: states, then what the sequences hold; it returns the states, then what comes out.
            prefix: of all names inside.
            states: first values by the names in the body.
            sequences: what to loop over, by the names in the body.
            given: values that all rounds share, by the names in the body.
            outputs: names of the final states and of the sequences that come out.
            reverse: from the last entry to the first.
        """
        body = self.take_in(model, prefix, given)
        # The exporter leaves out inputs that a network does not use; a loop hands over all of them.
        values = {value.name: value for value in body.input}
        del body.input[:]
        used_sequences = [name for name in sequences if f"{prefix}/{name}" in values]
        body.input.extend(values[f"{prefix}/{name}"] for name in (*states, *used_sequences))
        self.nodes.append(
            helper.make_node(
                "Scan",
                [*states.values(), *(sequences[name] for name in used_sequences)],
                outputs,
                name=prefix,
                body=body,
                num_scan_inputs=len(used_sequences),
                scan_input_directions=[int(reverse)] * len(used_sequences),
                scan_output_directions=[int(reverse)] * (len(outputs) - len(states)),
            )
        )

    def clean_in_rounds(self, model: ModelProto, cleaning: Cleaning) -> None:
        """Add a loop that cleans ``neighbours/frames`` as often as they need it; they are then ``cleaned_frames``.

        Args:
            model: what cleans one frame.
            cleaning: says how often at most, and when frames are clean.
        """
        constants = dict(rounds=np.int64(cleaning.max_rounds), again=np.bool_(True))
        constants["threshold"] = np.float32(cleaning.threshold)
        self.weights.extend(onnx.numpy_helper.from_array(np.array(value), name) for name, value in constants.items())
        outside, self.nodes = self.nodes, []
        self.scan(
            model, "clean",
            states={}, sequences=dict(neighbours="neighbours/neighbours"), given=dict(frames="round/frames"),
            outputs=["round/cleaned", "round/residues"],
        )  # fmt: skip
        self.nodes += [
            helper.make_node("ReduceMean", ["round/residues"], ["round/residue"], keepdims=0),
            helper.make_node("Less", ["round/residue", "threshold"], ["round/is_clean"]),
            helper.make_node("Not", ["round/is_clean"], ["round/next"]),
        ]
        number = helper.make_tensor_value_info("round/number", TensorProto.INT64, [])
        flags = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("round/again", "round/next")]
        shape = ["t", "n", 3, "h", "w"]
        frames = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("round/frames", "round/cleaned")
        ]
        body = helper.make_graph(self.nodes, "round", [number, flags[0], frames[0]], [flags[1], frames[1]])
        self.nodes = outside
        inputs = ["rounds", "again", "neighbours/frames"]
        self.nodes.append(helper.make_node("Loop", inputs, ["cleaned_frames"], name="clean", body=body))


def build_whole_graph(net: nn.Module, opset: int) -> ModelProto:
    """Make the graph from ``lrs (n, t, 3, h, w)`` to ``hrs (n, t, 3, H, W)``, all of n, t, h, w open.

    Args:
        net: a copy by :func:`vsr_plugin.export.tracing.exportable_copy`.
        opset: version of the operators.

    Raises:
        ExportError: the installed PyTorch cannot export to this opset.
    """
    parts = make_loops(net)
    models = {name: trace(part, opset) for name, part in parts.items()}
    assembly = _Assembly()
    lrs = "lrs"
    if "clean" in models:
        assembly.inline(models["neighbours"], "neighbours", dict(lrs=lrs))
        assembly.clean_in_rounds(models["clean"], net.cleaning)
        lrs = "cleaned"
        assembly.nodes.append(helper.make_node("Transpose", ["cleaned_frames"], [lrs], perm=[1, 0, 2, 3, 4]))
    assembly.inline(models["begin"], "begin", dict(lrs=lrs))
    sequences, given = dict(lr="begin/frames"), {}
    if "feature" in models:
        assembly.scan(
            models["feature"], "feature",
            states={}, sequences=dict(window="begin/windows"), given=dict(frames="begin/frames"), outputs=["features"],
        )  # fmt: skip
        sequences.update(number="begin/numbers", is_keyframe="begin/are_keyframes")
        given = dict(features="features")
    if counts_states(net):
        assembly.weights.append(onnx.numpy_helper.from_array(np.array(0, np.int64), "no_states"))
    sweeps = net.propagation.sweeps
    for reverse in {sweep.reverse for sweep in sweeps} if "flow" in models else ():
        name = _flows_name(reverse)
        assembly.scan(
            models["flow"], name,
            states=dict(other="begin/last" if reverse else "begin/first"),
            sequences=dict(lr="begin/frames"), given={}, outputs=[f"{name}_end", name], reverse=reverse,
        )  # fmt: skip
    for sweep in sweeps:
        is_last = sweep is sweeps[-1]
        carried = carried_names(net, sweep)
        # `state` and `state_2` both begin with `begin/state`.
        begin = {name: "no_states" if name == "num_states" else f"begin/{name.partition('_')[0]}" for name in carried}
        seen = {feat_name(earlier): feat_name(earlier) for earlier in sweeps[: sweeps.index(sweep)]}
        assembly.scan(
            models[step_name(sweep)], sweep.name,
            states=begin, sequences={**sequences, "flow": _flows_name(sweep.reverse), **seen}, given=given,
            outputs=[*(f"{sweep.name}_end_{name}" for name in carried), "hr_frames" if is_last else feat_name(sweep)],
            reverse=sweep.reverse,
        )  # fmt: skip
    assembly.inline(models["finish"], "finish", dict(lrs="lrs", hr_frames="hr_frames"))
    assembly.nodes.append(helper.make_node("Identity", ["finish/hrs"], ["hrs"]))
    shape = ["n", "t", 3, "h", "w"]
    graph = helper.make_graph(
        assembly.nodes, type(net).__name__,
        [helper.make_tensor_value_info("lrs", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("hrs", TensorProto.FLOAT, [*shape[:3], "hr_h", "hr_w"])],
        assembly.weights,
    )  # fmt: skip
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=models["begin"].ir_version
    )


def _flows_name(reverse: bool) -> str:
    """Of the flows to the next frames, if ``reverse``, or to those before."""
    return "flows_backward" if reverse else "flows_forward"
