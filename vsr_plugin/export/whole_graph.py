"""One ONNX graph for whole sequences of open length: the steps inside ``Scan`` loops over time."""

import hashlib
from collections.abc import Mapping

import numpy as np
import onnx
import torch.nn as nn
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, compose, helper

from vsr_plugin.export.onnx_layers import counts_states
from vsr_plugin.export.schedule import feat_name, step_name
from vsr_plugin.export.sequence import carried_names, make_loops
from vsr_plugin.export.tracing import trace
from vsr_plugin.models.cleaning import Cleaning


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
        net: a copy by :func:`vsr_plugin.export.onnx_layers.exportable_copy`.
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
