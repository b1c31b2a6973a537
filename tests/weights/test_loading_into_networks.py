"""Networks that exist, and parts of them, take their weights from files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_weights import save, small
from torch import nn

from vsr_plugin.errors import WeightsError
from vsr_plugin.models import BasicVSRNet, EDVRFeatureExtractor, IconVSRNet, RealBasicVSRNet, SPyNet
from vsr_plugin.registry import MODELS
from vsr_plugin.weights import load_into, load_net


def same(found: nn.Module, expected: nn.Module) -> bool:
    state = expected.state_dict()
    return all(torch.equal(tensor, state[key]) for key, tensor in found.state_dict().items())


@pytest.mark.parametrize("whole", [BasicVSRNet, IconVSRNet])
def test_spynet_takes_its_part_of_a_whole_network(whole: type, tmp_path: Path) -> None:
    source, net = small(whole), SPyNet()
    assert not same(net, source.spynet)
    load_into(net, save(source, tmp_path / "whole.pth"))
    assert same(net, source.spynet)


def test_extractor_takes_its_part_of_iconvsr(tmp_path: Path) -> None:
    source = small(IconVSRNet)
    net = EDVRFeatureExtractor(mid_channels=8)
    load_into(net, save(source, tmp_path / "whole.pth"))
    assert same(net, source.edvr)


def test_whole_networks_are_loaded_in_place(tmp_path: Path) -> None:
    source, net = small(BasicVSRNet), small(BasicVSRNet)
    parameter = net.conv_last.weight
    load_into(net, save(source, tmp_path / "whole.pth"))
    assert same(net, source)
    assert net.conv_last.weight is parameter


@pytest.mark.parametrize("kind", [BasicVSRNet, SPyNet])
def test_classes_that_extend_a_network_take_its_weights(kind: type, tmp_path: Path) -> None:
    class Own(kind):
        pass

    source, net = (Own() if kind is SPyNet else small(Own) for _ in range(2))
    load_into(net, save(source, tmp_path / "own.pth"))
    assert same(net, source)


def test_a_network_behind_a_cleaning_refuses_one_without(tmp_path: Path) -> None:
    path = save(small(BasicVSRNet), tmp_path / "plain.pth")
    with pytest.raises(WeightsError, match="weights of BasicVSRNet, not of RealBasicVSRNet"):
        load_into(RealBasicVSRNet(8, 1, 1), path)


def test_pretrained_whole_network(tmp_path: Path) -> None:
    source = small(IconVSRNet)
    path = str(save(source, tmp_path / "whole.pth"))
    config = dict(
        type="vsr_plugin.IconVSRNet",
        mid_channels=8,
        num_blocks=1,
        init_cfg=dict(type="Pretrained", checkpoint=path),
    )
    net = MODELS.build(config)
    assert not same(net, source)
    net.init_weights()
    assert same(net, source)


def test_pretrained_parts(tmp_path: Path) -> None:
    flow, icon = SPyNet(), small(IconVSRNet)
    net = small(
        IconVSRNet,
        spynet_pretrained=str(save(flow, tmp_path / "flow.pth")),
        edvr_pretrained=str(save(icon, tmp_path / "icon.pth")),
    )
    before = net.conv_last.weight.clone()
    net.init_weights()
    assert same(net.spynet, flow)
    assert same(net.edvr, icon.edvr)
    assert torch.equal(net.conv_last.weight, before)


def test_pretrained_part_inside_a_training_model(tmp_path: Path) -> None:
    from mmengine.model import BaseModule

    flow = SPyNet()
    model = BaseModule()
    model.generator = small(BasicVSRNet, spynet_pretrained=str(save(flow, tmp_path / "flow.pth")))
    model.init_weights()
    assert same(model.generator.spynet, flow)


def test_pretrained_by_name(official: tuple[str, Path]) -> None:
    net = small(BasicVSRNet, spynet_pretrained=official[0])
    net.init_weights()
    assert same(net.spynet, load_net(official[0]).spynet)


def test_pretrained_file_that_is_missing_is_an_error() -> None:
    net = small(BasicVSRNet, spynet_pretrained="no/such/file.pth")
    with pytest.raises(WeightsError, match=r"no/such/file\.pth: no such weights file"):
        net.init_weights()
