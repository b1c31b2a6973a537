"""Checkpoints of networks with other components than the published ones."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from torch import nn

from vsr_plugin.errors import WeightsError
from vsr_plugin.models import BasicVSRNet, BasicVSRPlusPlusNet, IconVSRNet
from vsr_plugin.models.alignment import ALIGNMENTS, Alignment
from vsr_plugin.weights import load_into, load_net, warm_start

SIZES = dict(mid_channels=8, num_blocks=1)
EARLIER, LATER = ("unidirectional", "bidirectional", "coupled"), ("second_order", "grid", "second_order_grid")


def save(net: nn.Module, path: Path) -> Path:
    torch.save(dict(state_dict={f"generator.{key}": tensor for key, tensor in net.state_dict().items()}), path)
    return path


@pytest.mark.parametrize(
    ("net_class", "propagation", "alignment"),
    [
        *product((BasicVSRNet, IconVSRNet), EARLIER, ("none", "image", "feature")),
        *product((BasicVSRNet,), LATER, ("none", "image", "feature")),
        *product((BasicVSRNet,), EARLIER, ("deformable",)),
        *product((BasicVSRNet, IconVSRNet), LATER, ("deformable",)),
    ],
)
def test_components_are_recognised(net_class: type, propagation: str, alignment: str, tmp_path: Path) -> None:
    net = net_class(**SIZES, propagation=propagation, alignment=alignment)
    found = load_net(save(net, tmp_path / "weights.pth"))
    assert type(found) is net_class
    assert found.components == net.components
    assert all(torch.equal(tensor, net.state_dict()[key]) for key, tensor in found.state_dict().items())


@pytest.mark.parametrize(
    ("net", "settings", "expected"),
    [
        (BasicVSRPlusPlusNet(8, 1, spynet_width=4), "max_residue_magnitude=3", 3),
        (BasicVSRPlusPlusNet(8, 1, spynet_width=4), "max_residue_magnitude='far'", 10),
        (BasicVSRPlusPlusNet(8, 1, spynet_width=4), "mid_channels=8", 10),
        (
            BasicVSRNet(**SIZES, spynet_width=4, alignment="deformable"),
            "alignment=dict(type='deformable', max_residue_magnitude=2.5)",
            2.5,
        ),
        (BasicVSRNet(**SIZES, spynet_width=4), "max_residue_magnitude=3", None),
    ],
)
def test_the_bound_of_residues_is_that_of_the_training(net, settings: str, expected, tmp_path: Path) -> None:
    config = f"model = dict(generator=dict({settings}))\n"
    path = tmp_path / "iter_5.pth"
    torch.save(dict(meta=dict(cfg=config), state_dict=net.state_dict()), path)
    assert getattr(load_net(path).alignment, "max_residue_magnitude", None) == expected


def test_local_propagation_is_read_as_bidirectional_and_can_be_filled(tmp_path: Path) -> None:
    net = BasicVSRNet(**SIZES, propagation="local", segments=3)
    path = save(net, tmp_path / "weights.pth")
    assert load_net(path).components == BasicVSRNet(**SIZES).components
    other = BasicVSRNet(**SIZES, propagation="local", segments=5)
    load_into(other, path)
    assert torch.equal(other.fusion.weight, net.fusion.weight)


@pytest.fixture
def own_alignments(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mixing(Alignment):
        def __init__(self, mid_channels: int):
            super().__init__(mid_channels)
            self.conv = nn.Conv2d(mid_channels, mid_channels, 1)

    class Carrying(Alignment):
        carried_channels = 2

    monkeypatch.setattr(ALIGNMENTS, "_classes", {**ALIGNMENTS._classes, "mixing": Mixing, "carrying": Carrying})


@pytest.mark.usefixtures("own_alignments")
@pytest.mark.parametrize("alignment", ["mixing", "carrying"])
def test_an_alignment_of_ones_own_is_filled_but_not_guessed(alignment: str, tmp_path: Path) -> None:
    net, other = (BasicVSRNet(**SIZES, alignment=alignment) for _ in range(2))
    path = save(net, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=r"the alignment in it is none of this package's; .*load_into\(net, path\)"):
        load_net(path)
    load_into(other, path)
    assert all(torch.equal(tensor, net.state_dict()[key]) for key, tensor in other.state_dict().items())


def test_weights_with_other_components_do_not_fit(tmp_path: Path) -> None:
    path = save(BasicVSRNet(**SIZES, propagation="coupled"), tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="does not fit BasicVSRNet: tensors 2 missing"):
        load_into(BasicVSRNet(**SIZES), path)


@pytest.mark.parametrize("alignment", ["none", "image", "feature"])
@torch.no_grad()
def test_a_bidirectional_warm_start_is_the_basicvsr(alignment: str, tmp_path: Path) -> None:
    source = BasicVSRNet(**SIZES, alignment=alignment)
    net = IconVSRNet(**SIZES, propagation="bidirectional", alignment=alignment, keyframe_stride=2)
    warm_start(net, save(source, tmp_path / "weights.pth"))
    lrs = torch.rand(1, 4, 3, 12, 16)
    torch.testing.assert_close(net(lrs), source(lrs), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "net"),
    [
        (dict(alignment="none"), {}),
        ({}, dict(alignment="none")),
        (dict(alignment="image"), {}),
        ({}, dict(alignment="image")),
        ({}, dict(propagation="unidirectional")),
        (dict(propagation="unidirectional"), {}),
    ],
)
def test_a_warm_start_from_other_components_is_refused(source: dict, net: dict, tmp_path: Path) -> None:
    path = save(BasicVSRNet(**SIZES, **source), tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="a warm start needs two branches and the same alignment on both sides"):
        warm_start(IconVSRNet(**SIZES, **net), path)


@pytest.mark.parametrize(
    ("alignment", "own"),
    [("'nearest'", True), ("dict(type='nearest', reach=2)", True), ("{'type': 'nearest'}", True), ("'feature'", False),
     ("None", False), ("dict(", False)],
)  # fmt: skip
def test_an_alignment_without_tensors_is_known_from_the_config_of_its_training(alignment, own, tmp_path: Path) -> None:
    net, path = BasicVSRNet(**SIZES, spynet_width=4), tmp_path / "iter_5.pth"
    config = f"work_dir = 'x'\nmodel = dict(generator=dict(alignment={alignment}, type='BasicVSRNet'))\n"
    torch.save(dict(meta=dict(cfg=config, iter=5), state_dict=net.state_dict()), path)
    if own:
        with pytest.raises(WeightsError, match=r"the alignment 'nearest' in it is none of this package's; build the n"):
            load_net(path)
    else:
        load_net(path)
    load_into(net, path)
