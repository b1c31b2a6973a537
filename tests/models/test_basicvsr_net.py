"""BasicVSRNet against MMagic's on the same weights and real frames."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vsr_plugin.models import BasicVSRNet
from vsr_plugin.weights import load_net

PRECISIONS = [(torch.float32, 2e-5), (torch.float64, 1e-10)]


def mmagic_net(**arguments) -> nn.Module:
    from mmagic.models import BasicVSRNet as MMagicNet

    return MMagicNet(**arguments)


def check_equal(ours: nn.Module, theirs: nn.Module, lrs: Tensor, dtype: torch.dtype, tolerance: float) -> None:
    lrs = lrs.to(dtype)
    found, expected = ours.to(dtype)(lrs), theirs.to(dtype)(lrs)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.fixture
def official_pair(official: str) -> tuple[nn.Module, nn.Module]:
    """Our network and MMagic's with the published weights."""
    ours, theirs = load_net(official), mmagic_net().eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@torch.no_grad()
def test_published_weights_equal_mmagic(
    dtype: torch.dtype, tolerance: float, official_pair: tuple, lr_frames: Callable[..., Tensor]
) -> None:
    check_equal(*official_pair, lr_frames(4, 13, 18), dtype, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize(
    ("clip", "t", "h", "w", "mirrored"),
    [
        ("bikes", 5, 67, 99, False),
        ("bikes", 5, 32, 65, True),
        ("carphone_pristine", 12, 36, 44, False),
    ],
)
@pytest.mark.slow
@torch.no_grad()
def test_published_weights_equal_mmagic_at_more_sizes(
    clip: str,
    t: int,
    h: int,
    w: int,
    mirrored: bool,
    dtype: torch.dtype,
    tolerance: float,
    official_pair: tuple,
    lr_frames: Callable[..., Tensor],
) -> None:
    check_equal(*official_pair, lr_frames(t, h, w, clip, mirrored), dtype, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize(
    ("t", "h", "w", "mirrored"),
    [(5, 8, 32, False), (6, 12, 14, False), (3, 9, 33, True), (4, 7, 5, False), (1, 10, 10, True)],
)
@torch.no_grad()
def test_random_weights_equal_mmagic(
    t: int,
    h: int,
    w: int,
    mirrored: bool,
    dtype: torch.dtype,
    tolerance: float,
    lr_frames: Callable[..., Tensor],
    randomise: Callable[..., nn.Module],
    real_spynet: Callable[[nn.Module], nn.Module],
) -> None:
    ours = real_spynet(randomise(BasicVSRNet(mid_channels=12, num_blocks=2)))
    theirs = mmagic_net(mid_channels=12, num_blocks=2)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    check_equal(ours, theirs, lr_frames(t, h, w, mirrored=mirrored), dtype, tolerance)


def test_parameter_count() -> None:
    for net in (BasicVSRNet(), mmagic_net()):
        assert sum(parameter.numel() for parameter in net.parameters()) == 6_291_311


@torch.no_grad()
def test_autocast_keeps_the_quality_of_the_published_weights(official: str, lr_frames: Callable[..., Tensor]) -> None:
    net, lrs = load_net(official), lr_frames(3, 12, 16)
    expected = net(lrs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net(lrs).float()
    psnr = -10 * (found - expected).square().mean().log10()
    assert psnr > 60


@torch.no_grad()
def test_restores_better_than_its_bilinear_base(official: str, lr_frames: Callable[..., Tensor]) -> None:
    # Restoring a frame and shrinking it again must give the frame back: a shift, a channel swap or a lost
    # branch would show here even if MMagic shared the fault.
    from vsr_plugin.ops.resize import bicubic_downsample

    lrs = lr_frames(5, 32, 48)
    hr = load_net(official)(lrs)[0, 2].permute(1, 2, 0)
    again = torch.as_tensor(bicubic_downsample(hr.numpy()))
    error = (again - lrs[0, 2].permute(1, 2, 0))[4:-4, 4:-4]
    assert -10 * error.square().mean().log10() > 45


@torch.no_grad()
def test_every_frame_sees_all_others(
    randomise: Callable[..., nn.Module], real_spynet: Callable[[nn.Module], nn.Module]
) -> None:
    net = real_spynet(randomise(BasicVSRNet(mid_channels=8, num_blocks=1)))
    lrs = torch.rand(1, 5, 3, 16, 16)
    expected = net(lrs)
    for i in range(5):
        changed = lrs.clone()
        changed[:, i] = torch.rand_like(changed[:, i])
        difference = (net(changed) - expected).abs().amax(dim=(0, 2, 3, 4))
        assert (difference > 1e-6).all(), i
