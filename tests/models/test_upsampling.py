"""Upsampling: the bilinear frame plus a learned residue."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vsr_plugin.models.upsampling import PixelShufflePack, PixelShuffleUpsampling


class Upsampler(PixelShuffleUpsampling, nn.Module):
    def __init__(self, mid_channels: int):
        super().__init__()
        self.build_upsampling(mid_channels)


@pytest.mark.parametrize(("c_in", "c_out", "factor"), [(8, 8, 2), (8, 64, 2), (12, 3, 4)])
def test_pack_equals_mmagic(c_in: int, c_out: int, factor: int) -> None:
    from mmagic.models.archs import PixelShufflePack as MMagicPack

    ours, theirs = PixelShufflePack(c_in, c_out, factor), MMagicPack(c_in, c_out, factor, upsample_kernel=3)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.rand(2, c_in, 5, 7)
    assert ours(x).shape == (2, c_out, 5 * factor, 7 * factor)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mid_channels", [8, 12, 64])
@pytest.mark.parametrize(("h", "w"), [(1, 1), (7, 5)])
def test_without_residue_it_is_the_bilinear_frame(mid_channels: int, h: int, w: int) -> None:
    net = Upsampler(mid_channels)
    nn.init.zeros_(net.conv_last.weight)
    nn.init.zeros_(net.conv_last.bias)
    lr = torch.rand(2, 3, h, w)
    expected = F.interpolate(lr, scale_factor=4, mode="bilinear", align_corners=False)
    assert torch.equal(net.upsample(torch.randn(2, mid_channels, h, w), lr), expected)


def test_features_and_frame_are_left_as_they_are() -> None:
    net = Upsampler(8)
    feat, lr = torch.randn(1, 8, 6, 6), torch.rand(1, 3, 6, 6)
    before = feat.clone(), lr.clone()
    net.upsample(feat, lr)
    assert torch.equal(feat, before[0])
    assert torch.equal(lr, before[1])


def test_layers_at_full_size_are_64_wide() -> None:
    net = Upsampler(12)
    assert net.upsample1.upsample_conv.weight.shape == (48, 12, 3, 3)
    assert net.upsample2.upsample_conv.weight.shape == (256, 12, 3, 3)
    assert net.conv_hr.weight.shape == (64, 64, 3, 3)
    assert net.conv_last.weight.shape == (3, 64, 3, 3)
