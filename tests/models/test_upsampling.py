"""Upsampling: the bilinear frame plus a learned residue."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vsr_plugin.errors import ComponentError
from vsr_plugin.models import BasicVSRNet, IconVSRNet
from vsr_plugin.models.upsampling import SHUFFLES, PixelShufflePack, PixelShuffleUpsampling


class Upsampler(PixelShuffleUpsampling, nn.Module):
    feature_stride = 1

    def __init__(self, mid_channels: int, scale: int = 4):
        super().__init__()
        self.build_upsampling(mid_channels, scale)


@pytest.mark.parametrize(("c_in", "c_out", "factor"), [(8, 8, 2), (8, 64, 2), (12, 3, 4)])
def test_pack_equals_mmagic(c_in: int, c_out: int, factor: int) -> None:
    from mmagic.models.archs import PixelShufflePack as MMagicPack

    ours, theirs = PixelShufflePack(c_in, c_out, factor), MMagicPack(c_in, c_out, factor, upsample_kernel=3)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.rand(2, c_in, 5, 7)
    assert ours(x).shape == (2, c_out, 5 * factor, 7 * factor)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mid_channels", [8, 12, 64])
@pytest.mark.parametrize("scale", SHUFFLES)
@pytest.mark.parametrize(("h", "w"), [(1, 1), (7, 5)])
def test_without_residue_it_is_the_bilinear_frame(mid_channels: int, scale: int, h: int, w: int) -> None:
    net = Upsampler(mid_channels, scale)
    nn.init.zeros_(net.conv_last.weight)
    nn.init.zeros_(net.conv_last.bias)
    lr = torch.rand(2, 3, h, w)
    expected = F.interpolate(lr, scale_factor=scale, mode="bilinear", align_corners=False)
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


@pytest.mark.parametrize(("scale", "widths"), [(2, [256]), (3, [576]), (4, [48, 256]), (8, [48, 48, 256])])
def test_layers_of_each_scale(scale: int, widths: list[int]) -> None:
    net = Upsampler(12, scale)
    assert net.shuffle_names() == ["upsample1", "upsample2", "upsample3"][: len(widths)]
    assert [getattr(net, name).upsample_conv.out_channels for name in net.shuffle_names()] == widths
    assert len(net.state_dict()) == 2 * (len(widths) + 2)


@pytest.mark.parametrize("kind", [BasicVSRNet, IconVSRNet])
@pytest.mark.parametrize("scale", SHUFFLES)
def test_networks_of_each_scale_learn(kind: type, scale: int) -> None:
    net = kind(mid_channels=8, num_blocks=1, scale=scale)
    hrs = net(torch.rand(1, 3, 3, 9, 11))
    assert hrs.shape == (1, 3, 3, 9 * scale, 11 * scale)
    hrs.square().mean().backward()
    assert all(getattr(net, name).upsample_conv.weight.grad.abs().max() > 0 for name in net.shuffle_names())
    assert net.is_published == (scale == 4)
    assert ("scale" in net.components) == (scale != 4)


@pytest.mark.parametrize("scale", [0, 1, 5, 16, "2", None])
def test_a_scale_that_does_not_exist(scale: object) -> None:
    with pytest.raises(ComponentError, match="`scale` must be one of 2, 3, 4, 8, got"):
        BasicVSRNet(mid_channels=8, num_blocks=1, scale=scale)
