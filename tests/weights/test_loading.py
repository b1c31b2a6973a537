"""A network comes from a file that tells its sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_weights import save, small

from vsr_plugin.models import BasicVSRNet, EDVRFeatureExtractor, IconVSRNet, SPyNet
from vsr_plugin.weights import load_net


@pytest.mark.parametrize("basicsr", [False, True])
@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (BasicVSRNet, dict(mid_channels=8, num_blocks=2)),
        (BasicVSRNet, dict(mid_channels=12, num_blocks=11)),
        (IconVSRNet, dict(mid_channels=8, num_blocks=2, padding=1)),
        (IconVSRNet, dict(mid_channels=12, num_blocks=1, padding=2)),
        (IconVSRNet, dict(mid_channels=8, num_blocks=2, padding=3)),
        (IconVSRNet, dict(mid_channels=8, num_blocks=2, padding=0)),
        (BasicVSRNet, dict(mid_channels=8, num_blocks=1, spynet_width=4)),
        (SPyNet, dict(width=6)),
        (EDVRFeatureExtractor, dict(mid_channels=12, num_frames=7, deform_groups=6, num_blocks_extraction=3)),
        (EDVRFeatureExtractor, dict(mid_channels=8, num_frames=3, in_channels=1, with_tsa=False)),
    ],
)
def test_sizes_are_read_from_the_file(
    kind: type, arguments: dict, basicsr: bool, tmp_path: Path, basicsr_layout: Callable, check_same: Callable
) -> None:
    net = kind(**arguments).eval()
    tensors = net.state_dict()
    torch.save(basicsr_layout(tensors) if basicsr else tensors, tmp_path / "weights.pth")
    found = load_net(tmp_path / "weights.pth")
    for name, value in arguments.items():
        if hasattr(net, name):
            assert getattr(found, name) == value
    if arguments.get("in_channels", 3) == 3:
        check_same(found, net)
    assert str(found) == str(net)


@pytest.mark.parametrize("stride", [1, 7, None])
def test_keyframe_stride_is_an_argument(stride: int | None, tmp_path: Path) -> None:
    path = save(small(IconVSRNet), tmp_path / "icon.pth")
    assert load_net(path).keyframe_stride == 5
    assert load_net(path, keyframe_stride=stride).keyframe_stride == stride


def test_networks_come_in_evaluation_mode_and_float32(tmp_path: Path) -> None:
    net = load_net(save(small(BasicVSRNet), tmp_path / "basic.pth"), device="cpu")
    assert not any(module.training for module in net.modules())
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}


def test_files_may_have_any_name(tmp_path: Path) -> None:
    assert isinstance(load_net(save(SPyNet(), tmp_path / "basicvsr_reds4")), SPyNet)


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save(SPyNet(), tmp_path / "flow.pth")
    assert isinstance(load_net("~/flow.pth"), SPyNet)
