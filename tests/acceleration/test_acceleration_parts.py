"""Parts of accelerated networks against the operators they stand for."""

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from vsr_plugin.acceleration.cpu.banded_upsampling import BandedUpsampling
from vsr_plugin.acceleration.cpu.block_conv import BlockConv
from vsr_plugin.acceleration.cpu.gather_deform_conv import GatherDCNPack
from vsr_plugin.acceleration.cpu.gather_warp import gather_warp
from vsr_plugin.acceleration.fused_conv import FusedConv
from vsr_plugin.models.alignment import flow_warp
from vsr_plugin.models.upsampling import SHUFFLES, PixelShuffleUpsampling
from vsr_plugin.ops.deform_conv import ModulatedDCNPack

pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture
def no_gradients():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("slope", "activate"), [(None, lambda x: x), (0, F.relu), (0.1, lambda x: F.leaky_relu(x, 0.1))]
)
def test_fused_conv(monkeypatch, fused, slope, activate):
    if not fused:
        monkeypatch.setattr("vsr_plugin.acceleration.fused_conv.onednn_fuses", lambda dtype: False)
    conv = nn.Conv2d(5, 7, 3, padding=1, stride=2)
    x = torch.randn(2, 5, 11, 14)
    torch.testing.assert_close(FusedConv.of(conv, torch.float32, slope)(x), activate(conv(x)))


@pytest.mark.parametrize("fused", [True, False])
def test_fused_residual(monkeypatch, fused):
    if not fused:
        monkeypatch.setattr("vsr_plugin.acceleration.fused_conv.onednn_fuses", lambda dtype: False)
    conv = nn.Conv2d(8, 8, 3, padding=1)
    x, residual = torch.randn(2, 1, 8, 9, 10).unbind()
    fast = FusedConv.of(conv, torch.float32)
    expected, before = residual + conv(x), residual.clone()
    torch.testing.assert_close(fast.add(x, residual), expected)
    assert torch.equal(residual, before)
    residual = residual.contiguous(memory_format=torch.channels_last)
    in_place = fast.add_(x, residual)
    torch.testing.assert_close(in_place, expected)
    assert (in_place.data_ptr() == residual.data_ptr()) == fast._by_onednn


@pytest.mark.parametrize("block", [(1, 1), (2, 2), (2, 4), (3, 1)])
@pytest.mark.parametrize("size", [(12, 16), (7, 9), (1, 1)])
@pytest.mark.parametrize("kernel", [3, 7])
def test_block_conv(block, size, kernel):
    conv = nn.Conv2d(4, 3, kernel, padding=kernel // 2)
    x = torch.randn(2, 4, *size)
    torch.testing.assert_close(BlockConv(conv, torch.float32, block)(x), conv(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(9, 13), (1, 5), (6, 1), (1, 1), (2, 2)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e9])
def test_gather_warp(scale, size):
    x, flow = torch.randn(2, 8, *size), scale * torch.randn(2, 2, *size)
    torch.testing.assert_close(gather_warp(x, flow), flow_warp(x, flow), atol=2e-5, rtol=1e-4)


def test_gather_warp_survives_what_is_not_finite():
    flow = torch.zeros(1, 2, 4, 4)
    flow[0, :, 0, 0], flow[0, :, 1, 1], flow[0, :, 2, 2] = float("nan"), float("inf"), -float("inf")
    warped = gather_warp(torch.ones(1, 3, 4, 4), flow)
    assert (warped[0, :, [0, 1, 2], [0, 1, 2]] == 0).all()
    assert warped.sum() == 3 * 13


def test_gather_deform_conv(monkeypatch):
    plain = ModulatedDCNPack(8, 4)
    plain.conv_offset.weight.normal_(std=0.5)
    plain.bias.normal_()
    x, offset_feat = torch.randn(2, 2, 8, 10, 12).unbind()
    expected = plain(x, offset_feat)
    torch.testing.assert_close(GatherDCNPack(plain, torch.float32)(x, offset_feat), expected, atol=1e-4, rtol=1e-4)
    monkeypatch.setattr("vsr_plugin.acceleration.cpu.gather_deform_conv._MAX_COLUMNS", 12 * 72 * 3)
    torch.testing.assert_close(GatherDCNPack(plain, torch.float32)(x, offset_feat), expected, atol=1e-4, rtol=1e-4)


class _Upsampling(PixelShuffleUpsampling, nn.Module):
    feature_stride = 1

    def __init__(self, scale):
        super().__init__()
        self.build_upsampling(8, scale)


@pytest.mark.parametrize("scale", SHUFFLES)
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 11, 100])
def test_bands_do_not_show(monkeypatch, scale, rows):
    plain = _Upsampling(scale)
    for name in plain.shuffle_names():
        getattr(plain, name).upsample_conv.weight.mul_(10)  # the initialisation's 0.1 taken back
    feat, lr = torch.randn(2, 8, 11, 6), torch.rand(2, 3, 11, 6)
    banded = BandedUpsampling(plain, torch.float32)
    monkeypatch.setattr(banded, "band_rows", lambda width: rows)
    expected = plain.upsample(feat, lr)
    assert (banded(feat, lr) - expected).abs().max() <= 2e-6 * expected.abs().max()
