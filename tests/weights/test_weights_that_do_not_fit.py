"""Checkpoints of other models, or with tensors missing, too many or of other sizes: one line that names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_weights import refused, save, small
from torch import nn

from vsr_plugin.errors import WeightsError
from vsr_plugin.models import BasicVSRNet, EDVRFeatureExtractor, IconVSRNet, SPyNet
from vsr_plugin.weights import load_into


@pytest.mark.parametrize(
    "checkpoint",
    [
        {"conv1.weight": torch.rand(3, 3), "layer1.0.bias": torch.rand(3)},
        {"params": {"body.0.weight": torch.rand(1)}},
        {"state_dict": {"discriminator.conv.weight": torch.rand(1)}},
    ],
)
def test_weights_of_another_model(checkpoint: dict, tmp_path: Path) -> None:
    torch.save(checkpoint, tmp_path / "weights.pth")
    message = refused(tmp_path / "weights.pth")
    assert "weights of another model (" in message
    assert "this package loads BasicVSR, IconVSR, BasicVSR++, RealBasicVSR, SPyNet and EDVR-M" in message


def test_weights_of_mmagic_nets_that_are_not_ours(tmp_path: Path) -> None:
    from mmagic.models import RRDBNet, TOFlowVSRNet

    for net in (RRDBNet(3, 3, mid_channels=4, num_blocks=1, growth_channels=4), TOFlowVSRNet()):
        torch.save({"state_dict": {f"generator.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "w.pth")
        assert "weights of another model" in refused(tmp_path / "w.pth")


@pytest.mark.parametrize("checkpoint", [{}, {"epoch": 3}, [torch.rand(3)], torch.rand(3), 5, {"params": {}}])
def test_checkpoints_without_tensors(checkpoint: object, tmp_path: Path) -> None:
    torch.save(checkpoint, tmp_path / "weights.pth")
    assert "no named tensors in this file" in refused(tmp_path / "weights.pth")


def test_missing_tensors(small_net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    keys = [key for key in small_net.state_dict() if key.rpartition(".")[2] not in ("mean", "std")]
    # Every third: weights and biases of all parts.
    for key in keys[::3]:
        tensors = dict(small_net.state_dict())
        del tensors[key]
        torch.save(tensors, path)
        message = refused(path)
        # A few tensors tell the architecture; without one of those the file may pass for another model's.
        assert "missing" in message or "weights of another model" in message, key


def test_missing_tensor_is_named(tmp_path: Path) -> None:
    tensors = small(BasicVSRNet).state_dict()
    del tensors["upsample1.upsample_conv.weight"], tensors["upsample1.upsample_conv.bias"]
    torch.save(tensors, tmp_path / "weights.pth")
    message = refused(tmp_path / "weights.pth")
    assert message.endswith("does not fit BasicVSRNet: tensors 2 missing (upsample1.upsample_conv.weight, ...)")


def test_unexpected_tensor_is_named(tmp_path: Path) -> None:
    tensors = {**small(BasicVSRNet).state_dict(), "is_ours": torch.zeros(1)}
    torch.save(tensors, tmp_path / "weights.pth")
    assert refused(tmp_path / "weights.pth").endswith("tensors 1 unexpected (is_ours)")


def test_tensor_of_another_size_is_named(tmp_path: Path) -> None:
    tensors = {**small(BasicVSRNet).state_dict(), "conv_hr.bias": torch.zeros(1)}
    torch.save(tensors, tmp_path / "weights.pth")
    assert refused(tmp_path / "weights.pth").endswith("tensors 1 of another size (conv_hr.bias)")


@pytest.mark.parametrize(
    "key",
    ["forward_resblocks.main.0.weight", "edvr.conv_first.weight", "edvr.fusion.feat_fusion.conv.weight"],
)
@pytest.mark.parametrize("shape", [(), (0,), (8,)])
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_tensors_that_tell_the_sizes_may_be_damaged(key: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    tensors = {**small(IconVSRNet).state_dict(), key: torch.zeros(shape)}
    torch.save(tensors, tmp_path / "weights.pth")
    refused(tmp_path / "weights.pth")


@pytest.mark.parametrize("rows", [0, 5, 27 * 3, 27 * 8 + 1])
def test_offsets_that_tell_the_groups_may_be_damaged(rows: int, tmp_path: Path) -> None:
    tensors = EDVRFeatureExtractor(mid_channels=8).state_dict()
    tensors["pcd_alignment.cas_dcnpack.conv_offset.weight"] = torch.zeros(rows, 8, 3, 3)
    torch.save(tensors, tmp_path / "weights.pth")
    refused(tmp_path / "weights.pth")


def test_nothing_is_loaded_when_something_does_not_fit(tmp_path: Path) -> None:
    net, other = small(BasicVSRNet), small(BasicVSRNet)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    torch.save({**other.state_dict(), "conv_hr.bias": torch.zeros(1)}, tmp_path / "weights.pth")
    refused(tmp_path / "weights.pth", lambda path: load_into(net, path))
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())


@pytest.mark.parametrize(
    ("source", "net", "message"),
    [
        (lambda: SPyNet(), lambda: small(BasicVSRNet), "weights of SPyNet, not of BasicVSRNet"),
        (lambda: small(IconVSRNet), lambda: small(BasicVSRNet), "weights of IconVSRNet, not of BasicVSRNet"),
        (lambda: small(BasicVSRNet), lambda: small(IconVSRNet), "weights of BasicVSRNet, not of IconVSRNet"),
        (
            lambda: small(BasicVSRNet),
            lambda: EDVRFeatureExtractor(mid_channels=8),
            "weights of BasicVSRNet, not of EDVR",
        ),
        (
            lambda: EDVRFeatureExtractor(mid_channels=8),
            lambda: SPyNet(),
            "weights of EDVRFeatureExtractor, not of SPyNet",
        ),
        (
            lambda: small(IconVSRNet, padding=3),
            lambda: small(IconVSRNet),
            "does not fit IconVSRNet: tensors 2 of another",
        ),
        (lambda: small(BasicVSRNet), lambda: BasicVSRNet(8, 2), "does not fit BasicVSRNet: tensors 8 missing"),
        (lambda: BasicVSRNet(8, 2), lambda: small(BasicVSRNet), "does not fit BasicVSRNet: tensors 8 unexpected"),
        (lambda: small(BasicVSRNet), lambda: BasicVSRNet(12, 1), "does not fit BasicVSRNet: tensors 1[0-9] of another"),
    ],
)
def test_weights_of_another_network_are_not_loaded_into_one(
    source: Callable, net: Callable, message: str, tmp_path: Path
) -> None:
    path = save(source(), tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=message):
        load_into(net(), path)
