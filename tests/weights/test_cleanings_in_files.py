"""Checkpoints of networks that clean frames first: RealBasicVSR, and others with a cleaning."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoint_layouts import LAYOUTS
from small_weights import refused, save
from torch import nn

from vsr_plugin.errors import WeightsError
from vsr_plugin.models import BasicVSRNet, IconVSRNet, RealBasicVSRNet, SPyNet
from vsr_plugin.models.cleaning import CLEANINGS, Cleaning, FootageCleaning, ImageCleaning
from vsr_plugin.weights import PUBLISHED, load_into, load_net, warm_start
from vsr_plugin.weights.loading import load_architecture

REAL = dict(mid_channels=8, num_propagation_blocks=2, num_cleaning_blocks=3, spynet_width=4)
SIZES = dict(mid_channels=8, num_blocks=1, spynet_width=4)


def randomised(net: nn.Module) -> nn.Module:
    """The network with every parameter moved, so that none is the start of another one."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) / 50)
    return net.eval()


def check_same(found: nn.Module, expected: nn.Module) -> None:
    assert type(found) is type(expected)
    assert str(found) == str(expected)
    for key, tensor in expected.state_dict().items():
        assert torch.equal(found.state_dict()[key], tensor), key
    lrs = torch.rand(1, 2, 3, 9, 14)
    with torch.no_grad():
        assert torch.equal(found(lrs), expected(lrs))


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if not name.startswith("basicsr")])
def test_realbasicvsr_in_every_layout(layout: str, tmp_path: Path) -> None:
    net = randomised(RealBasicVSRNet(**REAL, dynamic_refine_thres=5))
    torch.save(LAYOUTS[layout](net.state_dict()), tmp_path / "real.pth")
    found = load_net(tmp_path / "real.pth")
    check_same(found, net)
    other = RealBasicVSRNet(**REAL, dynamic_refine_thres=5).eval()
    load_into(other, tmp_path / "real.pth")
    check_same(other, net)


def test_the_average_is_taken_where_there_is_one(tmp_path: Path) -> None:
    average, latest = (randomised(RealBasicVSRNet(**REAL, scale=scale)) for scale in (2, 2))
    nn.init.zeros_(latest.conv_last.weight)
    tensors = {"generator." + key: tensor for key, tensor in latest.state_dict().items()}
    tensors |= {"generator_ema." + key: tensor for key, tensor in average.state_dict().items()}
    tensors["discriminator.conv_0.weight"] = torch.zeros(8, 3, 3, 3)
    torch.save(dict(state_dict=tensors), tmp_path / "gan.pth")
    found = load_net(tmp_path / "gan.pth")
    assert found.scale == 2
    assert torch.equal(found.conv_last.weight, average.conv_last.weight)


def test_what_it_refines_until(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(RealBasicVSRNet(**REAL), tmp_path / "real.pth")
    assert load_net(path).cleaning.threshold == pytest.approx(5 / 255)
    assert load_net(path, dynamic_refine_thres=0).cleaning.threshold == 0
    monkeypatch.setattr("vsr_plugin.weights.loading.fetch", lambda weights: path)
    for name, threshold in (("realbasicvsr_reds", 5), ("realbasicvsr_wogan_reds", 1.5)):
        assert name in PUBLISHED
        assert load_net(name).cleaning.threshold == pytest.approx(threshold / 255)
        assert load_net(name, dynamic_refine_thres=255).cleaning.threshold == 1


def test_weights_that_refine_nothing(tmp_path: Path) -> None:
    path = save(BasicVSRNet(**SIZES), tmp_path / "basic.pth")
    message = refused(path, lambda path: load_net(path, dynamic_refine_thres=5))
    assert "weights of BasicVSRNet, which cannot refine: it has no image cleaning" in message


def test_realbasicvsr_without_some_tensors(tmp_path: Path) -> None:
    tensors = RealBasicVSRNet(**REAL).state_dict()
    for prefix, fault in (("image_cleaning.", "image_cleaning.0.main.0.weight"), ("basicvsr.conv_hr.", "conv_hr")):
        kept = {key: tensor for key, tensor in tensors.items() if not key.startswith(prefix)}
        torch.save(kept, tmp_path / "real.pth")
        assert fault in refused(tmp_path / "real.pth")
    kept = {key: tensor for key, tensor in tensors.items() if "spynet.mean" not in key and "spynet.std" not in key}
    torch.save(kept, tmp_path / "real.pth")
    assert isinstance(load_net(tmp_path / "real.pth"), RealBasicVSRNet)


@pytest.mark.parametrize("net_class", [BasicVSRNet, IconVSRNet])
@pytest.mark.parametrize(
    "cleaning",
    [
        dict(type="footage", mid_channels=6, num_blocks=3, radius=2),
        dict(type="footage", mid_channels=4, num_blocks=1, radius=0),
        dict(type="image", mid_channels=6, num_blocks=2),
    ],
    ids=lambda cleaning: f"{cleaning['type']}{cleaning['mid_channels']}",
)
def test_cleanings_are_recognised(net_class: type, cleaning: dict, tmp_path: Path) -> None:
    net = randomised(net_class(**SIZES, cleaning=cleaning))
    path = save(net, tmp_path / "weights.pth")
    found = load_net(path)
    check_same(found, net)
    assert found.cleaning.radius == cleaning.get("radius", 0)
    with pytest.raises(WeightsError, match=r"does not fit \w+: tensors \d+ unexpected \(cleaning"):
        load_into(net_class(**SIZES), path)


def test_a_cleaning_of_ones_own_is_filled_but_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Tinting(Cleaning):
        def __init__(self):
            super().__init__()
            self.tint = nn.Parameter(torch.zeros(3))

    monkeypatch.setattr(CLEANINGS, "_classes", {**CLEANINGS._classes, "tinting": Tinting})
    path = save(randomised(BasicVSRNet(**SIZES, cleaning="tinting")), tmp_path / "weights.pth")
    assert "the cleaning in it is none of this package's" in refused(path)
    net = BasicVSRNet(**SIZES, cleaning="tinting")
    load_into(net, path)
    assert net.cleaning.tint.abs().min() > 0


def test_parts_are_taken_from_whole_networks(tmp_path: Path) -> None:
    real = randomised(RealBasicVSRNet(**REAL))
    path = save(real, tmp_path / "real.pth")
    flow, cleaning = SPyNet(width=4), ImageCleaning(8, 3)
    load_into(flow, path)
    load_into(cleaning, path)
    assert torch.equal(
        flow.basic_module[5].basic_module[4].conv.bias, real.spynet.basic_module[5].basic_module[4].conv.bias
    )
    assert torch.equal(getattr(cleaning, "1").weight, getattr(real.cleaning, "1").weight)
    footage = FootageCleaning(6, 2, radius=1)
    net = randomised(BasicVSRNet(**SIZES, cleaning=dict(type="footage", mid_channels=6, num_blocks=2, radius=1)))
    load_into(footage, save(net, tmp_path / "footage.pth"))
    assert torch.equal(footage.conv_last.weight, net.cleaning.conv_last.weight)
    message = refused(save(BasicVSRNet(**SIZES), tmp_path / "basic.pth"), lambda path: load_into(footage, path))
    assert message.endswith("weights of BasicVSRNet, not of FootageCleaning")


@pytest.mark.parametrize("cleaning", [FootageCleaning(6, 2, radius=1), ImageCleaning(6, 2)], ids=["footage", "image"])
def test_a_cleaning_by_itself(cleaning: Cleaning, tmp_path: Path) -> None:
    path = save(randomised(cleaning), tmp_path / "cleaning.pth")
    check_same(load_net(path), cleaning)
    assert load_architecture(path).scale == 1


def test_a_warm_start_takes_a_basicvsr_and_leaves_the_cleaning(tmp_path: Path) -> None:
    source = randomised(BasicVSRNet(mid_channels=8, num_blocks=2, spynet_width=4))
    path = save(source, tmp_path / "basic.pth")
    cleaning = dict(type="footage", mid_channels=4, num_blocks=1)
    nets = RealBasicVSRNet(**REAL), BasicVSRNet(mid_channels=8, num_blocks=2, spynet_width=4, cleaning=cleaning)
    for net in nets:
        before = {key: tensor.clone() for key, tensor in net.cleaning.state_dict().items()}
        warm_start(net, path)
        for key, tensor in net.cleaning.state_dict().items():
            assert torch.equal(tensor, before[key]), key
        lrs = torch.rand(1, 2, 3, 8, 8)
        with torch.no_grad():
            assert torch.equal(torch.stack(list(net.restore_cleaned(lrs)), 1), source(lrs))
    with pytest.raises(WeightsError, match="has 8 channels and 2 blocks, the network 8 channels and 3 blocks"):
        warm_start(RealBasicVSRNet(8, 3, 3, spynet_width=4), path)


def test_a_warm_start_from_another_scale(tmp_path: Path) -> None:
    source = randomised(RealBasicVSRNet(**REAL))
    net = RealBasicVSRNet(**REAL, scale=2)
    warm_start(net, save(source, tmp_path / "real.pth"))
    theirs = source.state_dict()
    shared = {key for key, tensor in net.state_dict().items() if tensor.shape == theirs.get(key, tensor[..., :0]).shape}
    assert "basicvsr.conv_last.weight" in shared
    assert "image_cleaning.1.weight" in shared
    assert all(torch.equal(net.state_dict()[key], theirs[key]) for key in shared)
