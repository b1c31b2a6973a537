"""Exported models compute what the networks compute, of standard operators only, and bad input is one line."""

from __future__ import annotations

import copy
import itertools
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import lively

from vsr_plugin.errors import ExportError, MediaError, VSRError, WeightsError
from vsr_plugin.inference import restore_frames
from vsr_plugin.models import BasicVSRNet, IconVSRNet, RealBasicVSRNet, SPyNet
from vsr_plugin.models.cleaning import clean_by, with_cleaning
from vsr_plugin.models.propagation import with_forgetting
from vsr_plugin.ops.indices import keyframe_indices, neighbourhood_indices
from vsr_plugin.weights import load_net


@pytest.mark.parametrize("padding", [0, 2, 3])
def test_the_keyframes_in_the_graph_are_those_of_the_networks(padding: int) -> None:
    from vsr_plugin.export.whole_graph import keyframe_plan

    for t in range(1, 17):
        for stride in (1, 3, 5, 20):
            windows, number, is_keyframe = keyframe_plan(t, stride, padding)
            keyframes = keyframe_indices(t, stride)
            assert is_keyframe.nonzero().flatten().tolist() == keyframes
            assert windows.tolist() == [neighbourhood_indices(i, t, padding) for i in keyframes]
            assert [keyframes[k] for k in number] == [max(k for k in keyframes if k <= i) for i in range(t)]


@pytest.mark.parametrize(("n", "t", "h", "w"), [(1, 1, 37, 45), (2, 5, 32, 21), (1, 15, 9, 13), (1, 2, 1, 2)])
@torch.no_grad()
def test_one_file_serves_every_batch_length_and_size(n, t, h, w, small, exported, run_whole) -> None:
    lrs = torch.rand(n, t, 3, h, w, generator=torch.Generator().manual_seed(t))
    expected = small[0](lrs)
    torch.testing.assert_close(run_whole(exported["whole"], lrs), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [2, 3])
@torch.no_grad()
def test_networks_of_another_scale(tmp_path, scale, run_whole) -> None:
    import onnx

    from vsr_plugin.export import export_onnx

    net = lively(BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4, scale=scale))
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    export_onnx(tmp_path / "weights.pth", tmp_path / "whole.onnx")
    lrs = torch.rand(1, 3, 3, 13, 10)
    hrs = run_whole(tmp_path / "whole.onnx", lrs)
    assert hrs.shape == (1, 3, 3, 13 * scale, 10 * scale)
    torch.testing.assert_close(hrs, net(lrs), rtol=0, atol=1e-5)
    about = {entry.key: entry.value for entry in onnx.load(str(tmp_path / "whole.onnx")).metadata_props}
    assert about["scale"] == str(scale)


@torch.no_grad()
def test_forgetting_is_in_the_file(tmp_path, small, run_whole) -> None:
    import onnx

    from vsr_plugin.export import export_onnx

    # A flow network that sees no motion, so that every pixel is still.
    net = copy.deepcopy(small[0])
    for level in net.spynet.basic_module:
        torch.nn.init.zeros_(level.basic_module[-1].conv.weight)
        torch.nn.init.zeros_(level.basic_module[-1].conv.bias)
    torch.save(dict(state_dict=net.state_dict()), tmp_path / "still.pth")
    lrs = torch.rand(1, 6, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    expected = with_forgetting(net, 0.3)(lrs)
    assert (expected - net(lrs)).abs().max() > 1e-3
    out = tmp_path / "still.onnx"
    export_onnx(tmp_path / "still.pth", out, keyframe_stride=3, forgetting=0.3)
    torch.testing.assert_close(run_whole(out, lrs), expected, rtol=0, atol=1e-5)
    about = {entry.key: entry.value for entry in onnx.load(str(out)).metadata_props}
    assert about["forgetting"] == "0.3"


@torch.no_grad()
def test_steps_take_any_batch_and_size(small, exported) -> None:
    import onnxruntime

    from vsr_plugin.export.exporter import difference
    from vsr_plugin.export.steps import example_inputs, make_parts
    from vsr_plugin.export.tracing import exportable_copy

    for name, part in make_parts(exportable_copy(small[0], "GridSample")).items():
        session = onnxruntime.InferenceSession(str(exported["steps"] / f"{name}.onnx"))
        for n, h, w in ((1, 4, 64), (3, 32, 16)):
            examples = example_inputs(small[0], h, w, n)
            for is_keyframe, num_states in itertools.product((True, False), (0, 1, 2)):
                examples.update(is_keyframe=torch.tensor(is_keyframe), num_states=torch.tensor(num_states))
                inputs = {key: examples[key] for key in part.inputs}
                assert difference(session, inputs, part.module(*inputs.values())) < 2e-5, name


def nodes_of(graph) -> list:
    found = []
    for node in graph.node:
        found.append(node)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found += nodes_of(attribute.g)
    return found


def test_operators_are_standard_and_metadata_tell_what_it_is(small, exported) -> None:
    import onnx

    net = small[0]
    sweeps = [sweep.name for sweep in net.propagation.sweeps]
    is_basic, is_icon = (isinstance(net, kind) for kind in (BasicVSRNet, IconVSRNet))
    names = {"flow", "reconstruct", *(f"{name}_step" for name in sweeps)} | (set() if is_basic else {"feature"})
    assert {path.stem for path in exported["steps"].iterdir()} == names
    convs_in = {"feature": 4, "whole": 4} if is_icon else {f"{name}_step": 1 for name in sweeps} | {"whole": 4}
    for path in (exported["whole"], *exported["steps"].iterdir()):
        model = onnx.load(str(path))
        onnx.checker.check_model(model, full_check=True)
        nodes = nodes_of(model.graph)
        assert {node.domain for node in nodes} <= {"", "ai.onnx"}
        assert [opset.version for opset in model.opset_import] == [19]
        convs = sum(node.op_type == "DeformConv" for node in nodes)
        assert convs == (0 if is_basic else convs_in.get(path.stem, 0))
        about = {entry.key: entry.value for entry in model.metadata_props}
        assert about["weights"] == small[1].name
        assert about["network"] == type(net).__name__
        assert (about["scale"], about["opset"], about["part"]) == (str(net.scale), "19", path.stem)
        assert about["feature_stride"] == str(net.feature_stride)
        assert about.get("keyframe_stride") == (None if is_basic else "3" if is_icon else "1")
        assert [sweep["name"] for sweep in json.loads(about["sweeps"])] == sweeps


@pytest.mark.parametrize("small", ["iconvsr", "basicvsr_pp"], indirect=True)
@torch.no_grad()
def test_without_deform_conv_at_an_older_opset(small, tmp_path: Path, run_whole) -> None:
    import onnx

    from vsr_plugin.export import export_onnx

    (export,) = export_onnx(small[1], tmp_path / "old.onnx", opset=16, deform_conv="GridSample", keyframe_stride=3)
    assert export.difference < 1e-5
    model = onnx.load(str(export.path))
    assert model.opset_import[0].version == 16
    assert "DeformConv" not in {node.op_type for node in nodes_of(model.graph)}
    lrs = torch.rand(1, 4, 3, 30, 26)
    torch.testing.assert_close(run_whole(export.path, lrs), small[0](lrs), rtol=0, atol=1e-5)


@pytest.mark.parametrize("small", ["basicvsr"], indirect=True)
def test_what_differs_gets_no_name(small, tmp_path: Path, monkeypatch) -> None:
    from vsr_plugin.export import export_onnx

    module = sys.modules["vsr_plugin.export.exporter"]
    monkeypatch.setattr(module, "sequence_difference", lambda session, net: float("nan"))
    with pytest.raises(ExportError, match=r"out\.onnx: differs from PyTorch by nan, more than 1e-04; not written"):
        export_onnx(small[1], tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("out", "options", "error", "message"),
    [
        ("no/x.onnx", {}, MediaError, "does not exist; create the folder first"),
        ("x.pth", {}, ExportError, r"must end in \.onnx; for a folder of steps pass --parts"),
        ("x.onnx", dict(parts=True), ExportError, r"--parts writes a folder"),
        ("x.onnx", dict(opset=15), ExportError, r"opset 15 has no \w+; use --opset 1\d or higher"),
        ("x.onnx", dict(opset=99), ExportError, r"PyTorch \S+ cannot export to opset 99"),
        ("x.onnx", dict(deform_conv="mmcv"), ExportError, "'mmcv' does not exist; use DeformConv or GridSample"),
    ],
)
@pytest.mark.parametrize("small", ["iconvsr"], indirect=True)
def test_bad_input_is_one_line(out, options, error, message, small, tmp_path: Path) -> None:
    from vsr_plugin.export import export_onnx

    with pytest.raises(error, match=message) as caught:
        export_onnx(small[1], tmp_path / out, **options)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_weights_that_are_no_whole_network(tmp_path: Path) -> None:
    from vsr_plugin.export import export_onnx

    torch.save(SPyNet().state_dict(), tmp_path / "flow.pth")
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ExportError, match="SPyNet is a part of a network; export weights of BasicVSR,"):
        export_onnx(tmp_path / "flow.pth", tmp_path / "x.onnx")
    with pytest.raises(WeightsError, match="weights of another model"):
        export_onnx(tmp_path / "other.pth", tmp_path / "x.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flow.pth", "other.pth"]


@pytest.mark.parametrize(
    ("kind", "components"),
    [
        (BasicVSRNet, dict(propagation="unidirectional", alignment="none")),
        (BasicVSRNet, dict(propagation="coupled", alignment="image")),
        (BasicVSRNet, dict(propagation="second_order_grid", alignment="none")),
        (BasicVSRNet, dict(propagation="second_order", alignment="deformable")),
        (IconVSRNet, dict(propagation="bidirectional", alignment="image")),
    ],
)
@torch.no_grad()
def test_other_components(kind: type, components: dict[str, str], run_whole, load_model, tmp_path: Path) -> None:
    from vsr_plugin.export import export_onnx

    torch.manual_seed(0)
    net = lively(kind(mid_channels=8, num_blocks=1, spynet_width=4, **components))
    torch.save(net.state_dict(), tmp_path / "study.pth")
    for name, parts in (("whole.onnx", False), ("steps", True)):
        export_onnx(tmp_path / "study.pth", tmp_path / name, parts=parts)
    frames = list((torch.rand(6, 9, 14, 3, generator=torch.Generator().manual_seed(1)) * 255).byte().numpy())
    lrs = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None] / 255
    torch.testing.assert_close(run_whole(tmp_path / "whole.onnx", lrs), net(lrs), rtol=0, atol=2e-5)
    for a, b in zip(load_model(tmp_path / "steps", 1).restore(frames), restore_frames(net, frames), strict=True):
        assert np.abs(a.astype(int) - b).max() <= 1


def test_segments_are_refused(tmp_path: Path, monkeypatch) -> None:
    from vsr_plugin.export import export_onnx

    net = BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4, propagation="local", segments=2)
    monkeypatch.setattr("vsr_plugin.export.exporter.load_net", lambda weights, keyframe_stride: net)
    with pytest.raises(ExportError, match=r"study\.pth: propagation in segments is not exported, since ") as caught:
        export_onnx("study.pth", tmp_path / "x.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"name": "a", "reverse": false, "order": 1, "sees": ["b"]}]'])
def test_what_is_no_schedule(text: str) -> None:
    from vsr_plugin.export.schedule import read_schedule

    with pytest.raises(ValueError):  # noqa: PT011 (json's, or ours)
        read_schedule(text)


@pytest.mark.parametrize("small", ["basicvsr"], indirect=True)
def test_steps_of_an_earlier_version(exported, load_model, tmp_path: Path) -> None:
    import onnx

    shutil.copytree(exported["steps"], tmp_path / "steps")
    path = tmp_path / "steps" / "reconstruct.onnx"
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, dict(scale="4"))
    onnx.save(model, str(path))
    with pytest.raises(VSRError, match=r"reconstruct\.onnx: does not say which sweeps there are; export the network"):
        load_model(tmp_path / "steps", 1)


def test_schedules_and_frames_with_features_go_over_unchanged(small) -> None:
    from vsr_plugin.export.schedule import read_schedule, write_schedule
    from vsr_plugin.export.tracing import feature_plan

    net = small[0]
    schedule = read_schedule(write_schedule(net.propagation))
    assert schedule.sweeps == net.propagation.sweeps
    assert schedule.restored_from == net.propagation.restored_from
    assert schedule.segments(5) == net.propagation.segments(5)
    for t in range(1, 9):
        stride, padding = feature_plan(net) or (None, 0)
        windows = {i: neighbourhood_indices(i, t, padding) for i in keyframe_indices(t, stride)}
        assert windows == net.feature_windows(t)


def small_real_net(**options) -> RealBasicVSRNet:
    return lively(
        RealBasicVSRNet(
            mid_channels=8, num_propagation_blocks=1, num_cleaning_blocks=1, spynet_width=4, **options,
        )
    )  # fmt: skip


@pytest.fixture(params=["RealBasicVSR", "footage"])
def cleaning_net(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[torch.nn.Module, Path]:
    """A network with a cleaning of either kind that changes frames visibly, and its checkpoint."""
    torch.manual_seed(0)
    if request.param == "footage":
        cleaning = dict(type="footage", mid_channels=8, num_blocks=1)
        net = lively(BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4, cleaning=cleaning))
        torch.nn.init.normal_(net.cleaning.conv_last.weight, std=0.1)
    else:
        net = small_real_net()
    torch.save(dict(state_dict=net.state_dict()), tmp_path / "cleaning.pth")
    return load_net(tmp_path / "cleaning.pth"), tmp_path / "cleaning.pth"


def test_a_step_that_nothing_looks_at_is_refused(cleaning_net, tmp_path: Path) -> None:
    from vsr_plugin.export import export_onnx

    with pytest.raises(ExportError, match="--step 6: no cleaning in this file would look at it"):
        export_onnx(cleaning_net[1], tmp_path / "steps", parts=True, clean=0.0, step=6.0)
    assert not (tmp_path / "steps").exists()


@torch.no_grad()
def test_cleaning_is_in_the_file(cleaning_net, run_whole, tmp_path: Path) -> None:
    from vsr_plugin.export import export_onnx

    net, weights = cleaning_net
    export_onnx(weights, tmp_path / "half.onnx", clean=0.5)
    lrs = torch.rand(2, 4, 3, 19, 26, generator=torch.Generator().manual_seed(1))
    expected = clean_by(net, 0.5)(lrs)
    assert (expected - net(lrs)).abs().max() > 1e-3
    torch.testing.assert_close(run_whole(tmp_path / "half.onnx", lrs), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_cleaning_is_one_of_the_steps(cleaning_net, load_model, tmp_path: Path) -> None:
    from vsr_plugin.export import export_onnx

    net, weights = cleaning_net
    export_onnx(weights, tmp_path / "steps", parts=True)
    frames = list((torch.rand(5, 19, 26, 3, generator=torch.Generator().manual_seed(1)) * 255).byte().numpy())
    done: list[float] = []
    found = list(load_model(tmp_path / "steps", 1).restore(frames, progress=done.append))
    assert sum(done) == pytest.approx(5)
    for a, b in zip(found, restore_frames(net, frames), strict=True):
        assert np.abs(a.astype(int) - b).max() <= 1


@pytest.mark.parametrize("threshold", [0, 255])
@torch.no_grad()
def test_frames_are_cleaned_as_often_as_they_need(
    threshold, load_model, run_whole, tmp_path: Path, monkeypatch
) -> None:
    from vsr_plugin.export import export_onnx

    torch.manual_seed(0)
    net = small_real_net(dynamic_refine_thres=threshold, is_sequential_cleaning=True)
    monkeypatch.setattr("vsr_plugin.export.exporter.load_net", lambda weights, keyframe_stride: net)
    export_onnx("real", tmp_path / "whole.onnx")
    export_onnx("real", tmp_path / "steps", parts=True)
    frames = (torch.rand(3, 12, 16, 3) * 255).byte()
    lrs = frames.permute(0, 3, 1, 2)[None] / 255
    rounds = 3 if threshold == 0 else 1
    cleaned = lrs
    for _ in range(rounds):
        cleaned = cleaned + torch.stack([net.cleaning.residue(frame[:, None]) for frame in cleaned.unbind(1)], 1)
    expected = with_cleaning(net, None)(cleaned)
    torch.testing.assert_close(run_whole(tmp_path / "whole.onnx", lrs), expected, rtol=0, atol=1e-5)
    found = load_model(tmp_path / "steps", 1).restore(list(frames.numpy()))
    for a, b in zip(found, expected[0].permute(0, 2, 3, 1), strict=True):
        assert np.abs(a - b.clamp(0, 1).numpy() * 255).max() <= 0.51


def test_without_packages_the_tool_says_what_to_install(load_tool, tmp_path: Path, monkeypatch, capsys) -> None:
    from vsr_plugin.cli.command import run_command

    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setattr(sys, "argv", ["export_onnx.py", "basicvsr_reds4", str(tmp_path / "x.onnx")])
    assert run_command(load_tool("export_onnx").main) == 1
    expected = "error: the package onnx is not installed; pip install -r requirements/export.txt\n"
    assert capsys.readouterr().err == expected
