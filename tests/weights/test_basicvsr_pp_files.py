"""Checkpoints of BasicVSR++: what is read from them, MMagic's in both directions, and those that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vsr_plugin.errors import WeightsError
from vsr_plugin.models import BasicVSRPlusPlusNet
from vsr_plugin.weights import load_into, load_net
from vsr_plugin.weights.loading import load_architecture


def save(tensors: dict, path: Path, prefix: str = "generator.") -> Path:
    torch.save(dict(state_dict={f"{prefix}{key}": tensor for key, tensor in tensors.items()}), path)
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        dict(mid_channels=8, num_blocks=1),
        dict(mid_channels=8, num_blocks=3, is_low_res_input=False),
        dict(mid_channels=12, num_blocks=2, scale=2),
        dict(mid_channels=8, num_blocks=1, spynet_width=4),
        dict(mid_channels=8, num_blocks=1, cleaning=dict(type="image", mid_channels=4, num_blocks=1)),
    ],
)
@torch.no_grad()
def test_arguments_are_read_from_the_file(arguments: dict, tmp_path: Path) -> None:
    net = BasicVSRPlusPlusNet(**arguments).eval()
    path = save(net.state_dict(), tmp_path / "weights.pth")
    assert load_architecture(path).arguments == arguments
    found, lrs = load_net(path), torch.rand(1, 3, 3, 9, 12)
    assert type(found) is BasicVSRPlusPlusNet
    assert found.scale == net.scale == load_architecture(path).scale
    assert torch.equal(found(lrs), net(lrs))


@pytest.mark.parametrize("is_low_res_input", [True, False])
def test_mmagics_own_checkpoints(is_low_res_input: bool, tmp_path: Path) -> None:
    from mmagic.models.editors.basicvsr_plusplus_net.basicvsr_plusplus_net import BasicVSRPlusPlusNet as MMagicNet

    theirs = MMagicNet(8, 1, is_low_res_input=is_low_res_input)
    net = load_net(save({**theirs.state_dict(), "step_counter": torch.zeros(1)}, tmp_path / "weights.pth"))
    assert net.is_low_res_input == is_low_res_input
    theirs.load_state_dict(net.state_dict(), strict=True)


def test_bare_and_averaged_weights(tmp_path: Path) -> None:
    net = BasicVSRPlusPlusNet(8, 1)
    for prefix in ("", "generator_ema.", "module.generator."):
        found = load_net(save(net.state_dict(), tmp_path / "weights.pth", prefix))
        assert torch.equal(found.conv_last.weight, net.conv_last.weight)


def test_weights_of_another_width_or_task_are_refused(tmp_path: Path) -> None:
    path = save(BasicVSRPlusPlusNet(8, 1).state_dict(), tmp_path / "x4.pth")
    with pytest.raises(WeightsError, match=r"does not fit BasicVSRPlusPlusNet: tensors .* of another size"):
        load_into(BasicVSRPlusPlusNet(16, 1), path)
    with pytest.raises(WeightsError, match=r"weights of scale 4, the network is of scale 1, .*is_low_res_input=True"):
        load_into(BasicVSRPlusPlusNet(8, 1, is_low_res_input=False), path)
    path = save(BasicVSRPlusPlusNet(8, 1, is_low_res_input=False).state_dict(), tmp_path / "x1.pth")
    with pytest.raises(WeightsError, match=r"weights of scale 1, the network is of scale 4, .*is_low_res_input=False"):
        load_into(BasicVSRPlusPlusNet(8, 1), path)


@pytest.mark.parametrize("key", ["reconstruction.main.0.weight", "deform_align.forward_2.weight"])
def test_a_file_that_lacks_a_part(key: str, tmp_path: Path) -> None:
    tensors = BasicVSRPlusPlusNet(8, 1).state_dict()
    del tensors[key]
    with pytest.raises(WeightsError, match=f"the tensor '{key}' is missing; the file is incomplete"):
        load_net(save(tensors, tmp_path / "weights.pth"))


def test_flow_is_taken_from_it(tmp_path: Path) -> None:
    net, other = BasicVSRPlusPlusNet(8, 1), BasicVSRPlusPlusNet(8, 1)
    load_into(other.spynet, save(net.state_dict(), tmp_path / "weights.pth"))
    key = "basic_module.0.basic_module.0.conv.weight"
    assert torch.equal(other.spynet.state_dict()[key], net.spynet.state_dict()[key])
