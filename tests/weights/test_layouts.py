"""The same tensors in every layout that checkpoints come in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoint_layouts import to_basicsr
from torch import nn

from vsr_plugin.errors import WeightsError
from vsr_plugin.models import BasicVSRNet, EDVRFeatureExtractor
from vsr_plugin.weights import load_net, read_checkpoint
from vsr_plugin.weights.recognition import normalise, recognise


def test_official_files_load_by_name_and_by_path(official: tuple[str, Path], check_same: Callable) -> None:
    name, path = official
    net = load_net(name)
    assert (net.mid_channels, len(net.forward_resblocks.main[2])) == (64, 30)
    check_same(load_net(path), net)
    check_same(load_net(str(path)), net)


def test_official_tensors_load_from_every_layout(official: tuple[str, Path], layout: Callable) -> None:
    # Without a file of 25 MB and a network for each; those below are written, read and run.
    name, path = official
    expected = recognise(normalise(read_checkpoint(path), name), name)
    found = recognise(normalise(layout(expected.tensors), name), name)
    assert (found.net, found.arguments) == ("BasicVSRNet", dict(mid_channels=64, num_blocks=30))
    assert (found.net, found.arguments) == (expected.net, expected.arguments)
    assert set(found.tensors) == set(expected.tensors)
    assert all(torch.equal(tensor, expected.tensors[key]) for key, tensor in found.tensors.items())


def test_basicsr_names_are_those_of_the_official_files(official: tuple[str, Path], basicsr_layout: Callable) -> None:
    # The table of this test against the published keys: 316 tensors.
    raw = torch.load(official[1], map_location="cpu", weights_only=True)["params"]
    ours = basicsr_layout(load_net(official[0]).state_dict())["params"]
    assert len(raw) == 316
    assert set(ours) == set(raw)
    assert all(torch.equal(ours[key], raw[key]) for key in raw)


def test_networks_load_from_every_layout(
    small_net: nn.Module, layout: Callable, tmp_path: Path, check_same: Callable
) -> None:
    torch.save(layout(small_net.state_dict()), tmp_path / "weights.pth")
    check_same(load_net(tmp_path / "weights.pth"), small_net)


def test_older_file_format(small_net: nn.Module, tmp_path: Path, check_same: Callable) -> None:
    torch.save(small_net.state_dict(), tmp_path / "weights.pth", _use_new_zipfile_serialization=False)
    check_same(load_net(tmp_path / "weights.pth"), small_net)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(value: float, layout: Callable) -> None:
    tensors = BasicVSRNet(mid_channels=4, num_blocks=1, spynet_width=4).state_dict()
    tensors["conv_last.bias"][1] = value
    with pytest.raises(WeightsError, match=r"^x: the tensor \S*conv_last.bias holds numbers that are not finite"):
        normalise(layout(tensors), "x")


def test_no_layout_keeps_foreign_keys(small_net: nn.Module, layout: Callable) -> None:
    assert set(normalise(layout(small_net.state_dict()), "x")) == set(small_net.state_dict())


@pytest.mark.parametrize("whole", ["basicvsr", "iconvsr"])
def test_round_trip_through_mmagic(whole: str, tmp_path: Path, check_same: Callable) -> None:
    from mmagic import models as mmagic

    theirs = dict(basicvsr=mmagic.BasicVSRNet, iconvsr=mmagic.IconVSRNet)[whole](mid_channels=64, num_blocks=2)
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "theirs.pth")
    ours = load_net(tmp_path / "theirs.pth")
    theirs.load_state_dict(ours.state_dict(), strict=True)
    torch.save(theirs.state_dict(), tmp_path / "again.pth")
    check_same(load_net(tmp_path / "again.pth"), ours)


def test_round_trip_of_official_weights_through_mmagic(
    official: tuple[str, Path], tmp_path: Path, check_same: Callable
) -> None:
    from mmagic.models import BasicVSRNet as MMagicNet

    ours, theirs = load_net(official[0]), MMagicNet()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    file = tmp_path / "theirs.pth"
    torch.save({"state_dict": {f"generator.{key}": tensor for key, tensor in theirs.state_dict().items()}}, file)
    try:
        check_same(load_net(file), ours)
    finally:
        file.unlink()


@pytest.mark.parametrize("with_tsa", [True, False])
@pytest.mark.parametrize("basicsr", [False, True])
def test_whole_edvr_gives_its_extractor(basicsr: bool, with_tsa: bool, tmp_path: Path, check_same: Callable) -> None:
    from mmagic.models.editors.edvr.edvr_net import EDVRNet

    whole = EDVRNet(3, 3, mid_channels=16, num_frames=5, num_blocks_reconstruction=2, with_tsa=with_tsa)
    tensors = whole.state_dict()
    expected = EDVRFeatureExtractor(mid_channels=16, with_tsa=with_tsa).eval()
    expected.load_state_dict({key: tensors[key] for key in expected.state_dict()})
    if basicsr:
        tail = ("reconstruction.", "conv_hr.", "conv_last.")
        kept = {key: tensor for key, tensor in tensors.items() if key.startswith(tail)}
        checkpoint = {"params": kept | to_basicsr({k: t for k, t in tensors.items() if k not in kept})}
    else:
        checkpoint = {"state_dict": {f"generator.{key}": tensor for key, tensor in tensors.items()}}
    torch.save(checkpoint, tmp_path / "edvr.pth")
    check_same(load_net(tmp_path / "edvr.pth"), expected)


@pytest.mark.parametrize("layout_name", ["ours", "basicsr"])
def test_files_without_mean_and_std(
    layout_name: str, small_net: nn.Module, basicsr_layout: Callable, tmp_path: Path, check_same: Callable
) -> None:
    # They are constants of the architecture; MMagic's published SPyNet has none.
    tensors = {k: v for k, v in small_net.state_dict().items() if k.rpartition(".")[2] not in ("mean", "std")}
    torch.save(tensors if layout_name == "ours" else basicsr_layout(tensors), tmp_path / "weights.pth")
    check_same(load_net(tmp_path / "weights.pth"), small_net)


def test_checkpoint_of_mmengine_with_its_log_history(
    small_net: nn.Module, tmp_path: Path, check_same: Callable
) -> None:
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        pytest.skip("PyTorch cannot be told which other classes are data before 2.6")
    from mmengine.logging import MessageHub

    hub = MessageHub.get_instance("test_checkpoint_of_mmengine")
    for step in range(3):
        hub.update_scalar("train/loss", torch.tensor(0.5) / (step + 1))
    hub.update_info("iter", 3)
    net = torch.nn.Module()
    net.generator = small_net
    checkpoint = {
        "meta": {"epoch": 0, "iter": 3, "experiment_name": "x", "cfg": "model = dict()", "dataset_meta": None},
        "state_dict": net.state_dict(),
        "message_hub": hub.state_dict(),
        "optimizer": torch.optim.Adam(net.parameters()).state_dict(),
        "param_schedulers": [{"last_step": 3, "base_values": [1e-4]}],
    }
    torch.save(checkpoint, tmp_path / "iter_3.pth")
    check_same(load_net(tmp_path / "iter_3.pth"), small_net)
