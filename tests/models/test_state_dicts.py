"""State dicts of our networks and of MMagic's: the same keys, and either loads the other's."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

from vsr_plugin.models import BasicVSRNet, BasicVSRPlusPlusNet, IconVSRNet, RealBasicVSRNet

#: Our networks, and where MMagic has its own under the same name.
NETS = {
    BasicVSRNet: "basicvsr.basicvsr_net",
    IconVSRNet: "iconvsr.iconvsr_net",
    RealBasicVSRNet: "real_basicvsr.real_basicvsr_net",
    BasicVSRPlusPlusNet: "basicvsr_plusplus_net.basicvsr_plusplus_net",
}


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        (BasicVSRNet, {}),
        (BasicVSRNet, dict(mid_channels=12, num_blocks=2)),
        (IconVSRNet, dict(num_blocks=2, padding=2)),
        (IconVSRNet, dict(num_blocks=2, padding=3)),
        (RealBasicVSRNet, {}),
        (RealBasicVSRNet, dict(mid_channels=12, num_propagation_blocks=2, num_cleaning_blocks=2)),
        (BasicVSRPlusPlusNet, {}),
        (BasicVSRPlusPlusNet, dict(mid_channels=8, num_blocks=1)),
        (BasicVSRPlusPlusNet, dict(mid_channels=8, num_blocks=1, is_low_res_input=False)),
    ],
)
def test_they_are_interchangeable_with_mmagic(kind: type, sizes: dict) -> None:
    module = importlib.import_module(f"mmagic.models.editors.{NETS[kind]}")
    ours, theirs = kind(**sizes), getattr(module, kind.__name__)(**sizes)
    assert set(ours.state_dict()) == set(theirs.state_dict())
    if kind is not RealBasicVSRNet:  # whose parts have other names than their tensors
        assert names(ours) == names(theirs)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], tensor), key


def names(net: nn.Module) -> set[str]:
    return {name for name, _ in net.named_parameters()}
