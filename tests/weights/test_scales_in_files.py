"""Weights of other scales than 4: recognised from the file, and what one scale learns from another."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from small_weights import save, small

from vsr_plugin.errors import WeightsError
from vsr_plugin.models import BasicVSRNet, IconVSRNet, SPyNet
from vsr_plugin.models.upsampling import SHUFFLES
from vsr_plugin.weights import load_into, load_net, warm_start


@pytest.mark.parametrize("kind", [BasicVSRNet, IconVSRNet])
@pytest.mark.parametrize("scale", SHUFFLES)
def test_the_scale_is_read_from_the_file(kind: type, scale: int, tmp_path: Path) -> None:
    net = small(kind, scale=scale)
    loaded = load_net(save(net, tmp_path / "weights.pth"))
    assert (type(loaded), loaded.scale) == (kind, scale)
    assert all(torch.equal(tensor, net.state_dict()[key]) for key, tensor in loaded.state_dict().items())


def test_a_width_of_64_is_not_mistaken(tmp_path: Path) -> None:
    # There the first shuffle of scale 4 has the size of the only one of scale 2.
    for scale in (2, 4):
        net = BasicVSRNet(mid_channels=64, num_blocks=1, scale=scale)
        assert load_net(save(net, tmp_path / f"{scale}.pth")).scale == scale


def test_the_layout_of_basicsr(tmp_path: Path) -> None:
    net = small(BasicVSRNet, scale=8)
    names = {f"upsample{i}.upsample_conv": f"upconv{i}" for i in (1, 2, 3)}
    tensors = {}
    for key, tensor in net.state_dict().items():
        module, _, kind = key.rpartition(".")
        tensors[f"{names.get(module, module)}.{kind}"] = tensor
    torch.save(dict(params=tensors), tmp_path / "weights.pth")
    assert load_net(tmp_path / "weights.pth").scale == 8


def test_weights_of_another_scale_do_not_fit(tmp_path: Path) -> None:
    path = save(small(BasicVSRNet, scale=2), tmp_path / "x2.pth")
    with pytest.raises(WeightsError, match="weights of scale 2, the network is of scale 4; build it with scale=2"):
        load_into(small(BasicVSRNet), path)


@pytest.mark.parametrize("kind", [BasicVSRNet, IconVSRNet])
@pytest.mark.parametrize(("theirs", "own"), [(4, 2), (4, 3), (4, 8), (2, 4), (8, 2)])
def test_another_scale_takes_all_but_the_shuffles(kind: type, theirs: int, own: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained, net = small(kind, scale=theirs), small(kind, scale=own)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    warm_start(net, save(trained, tmp_path / "weights.pth"))
    for key, tensor in net.state_dict().items():
        given = trained.state_dict().get(key)
        taken = given is not None and given.shape == tensor.shape
        assert torch.equal(tensor, given if taken else before[key]), key
        assert taken or key.startswith("upsample")


def test_at_the_usual_width_the_first_shuffles_are_taken_too(tmp_path: Path) -> None:
    sizes = dict(mid_channels=64, num_blocks=1)
    trained = BasicVSRNet(**sizes)
    path = save(trained, tmp_path / "weights.pth")
    for scale, taken in ((2, {"upsample1"}), (3, set()), (8, {"upsample1", "upsample2"})):
        net = BasicVSRNet(**sizes, scale=scale)
        warm_start(net, path)
        same = {
            name
            for name in {*net.shuffle_names()} & {*trained.shuffle_names()}
            if torch.equal(*(getattr(n, name).upsample_conv.weight.flatten()[:100] for n in (net, trained)))
        }
        assert same == taken


def test_the_same_scale_takes_everything(tmp_path: Path) -> None:
    trained, net = small(IconVSRNet), small(IconVSRNet)
    warm_start(net, save(trained, tmp_path / "weights.pth"))
    assert all(torch.equal(tensor, trained.state_dict()[key]) for key, tensor in net.state_dict().items())


def test_iconvsr_from_basicvsr_of_another_scale(tmp_path: Path) -> None:
    trained, net = small(BasicVSRNet), small(IconVSRNet, scale=2)
    before = net.upsample1.upsample_conv.weight.clone()
    warm_start(net, save(trained, tmp_path / "weights.pth"))
    assert torch.equal(net.backward_resblocks.main[0].weight, trained.backward_resblocks.main[0].weight)
    assert torch.equal(net.conv_hr.weight, trained.conv_hr.weight)
    assert torch.equal(net.upsample1.upsample_conv.weight, before)


def test_a_warm_start_says_what_must_be_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    module = importlib.import_module("vsr_plugin.weights.warm_start")  # the package has a function of that name
    monkeypatch.setattr(module, "print_log", lambda line, logger: lines.append(line))
    path = save(small(BasicVSRNet), tmp_path / "x4.pth")
    warm_start(small(BasicVSRNet), path)
    assert lines == []
    warm_start(small(BasicVSRNet, scale=2), path)
    assert lines == [f"{path}: weights of scale 4 for a network of scale 2; upsample1 must be learnt anew"]


def test_what_a_warm_start_refuses(tmp_path: Path) -> None:
    icon = save(small(IconVSRNet), tmp_path / "icon.pth")
    with pytest.raises(WeightsError, match="weights of IconVSRNet; a warm start of BasicVSRNet takes its own"):
        warm_start(small(BasicVSRNet, scale=2), icon)
    with pytest.raises(WeightsError, match="weights of SPyNet; a warm start of IconVSRNet takes BasicVSR's or its own"):
        warm_start(small(IconVSRNet), save(SPyNet(), tmp_path / "spynet.pth"))
    coupled = save(small(BasicVSRNet, propagation="coupled"), tmp_path / "coupled.pth")
    with pytest.raises(WeightsError, match="a warm start needs the same components on both sides; the network has"):
        warm_start(small(BasicVSRNet, scale=2), coupled)
