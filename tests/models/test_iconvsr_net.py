"""IconVSRNet against MMagic's on the same weights and real frames; keyframes and windows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from branch_steps import backward_step, forward_step
from torch import Tensor, nn

from vsr_plugin.models import IconVSRNet
from vsr_plugin.ops.indices import keyframe_indices, neighbourhood_indices

PRECISIONS = [(torch.float32, 2e-5), (torch.float64, 1e-10)]


def mmagic_net(**arguments) -> nn.Module:
    from mmagic.models import IconVSRNet as MMagicNet

    return MMagicNet(**arguments)


@pytest.fixture
def check_equal(
    lr_frames: Callable[..., Tensor],
    randomise: Callable[..., nn.Module],
    real_spynet: Callable[[nn.Module], nn.Module],
    request: pytest.FixtureRequest,
) -> Callable[..., None]:
    """Return a function that compares our network with MMagic's on the same random weights, SPyNet's published."""

    @torch.no_grad()
    def check(dtype: torch.dtype, tolerance: float, frames: tuple, **arguments) -> None:
        if dtype == torch.float64:
            request.getfixturevalue("mmagic_in_float64")
        # MMagic's extractor is 64 wide whatever it is asked for.
        ours = real_spynet(randomise(IconVSRNet(mid_channels=64, **arguments))).to(dtype)
        theirs = mmagic_net(mid_channels=64, **arguments).to(dtype)
        theirs.load_state_dict(ours.state_dict(), strict=True)
        lrs = lr_frames(*frames).to(dtype)
        found = ours(lrs)
        assert found.dtype == dtype
        assert 0.02 < found.std() < 2
        torch.testing.assert_close(found, theirs(lrs), rtol=0, atol=tolerance)

    return check


#: Padding, keyframe stride, frames.
CASES = [
    (2, 3, (5, 9, 7)),
    (3, 4, (4, 6, 9, "carphone_pristine", True)),
    (2, 1, (5, 8, 6)),
    (2, 5, (5, 8, 12)),
    (2, 5, (5, 7, 6, "carphone_pristine", True)),
    (3, 5, (7, 8, 5)),
    (3, 100, (9, 9, 8)),
]


# A wrong frame, keyframe or border shows in float32 too; float64, five times as slow, finds what is small everywhere.
@pytest.mark.parametrize(
    ("padding", "stride", "frames", "dtype", "tolerance"),
    [(*case, *PRECISIONS[0]) for case in CASES] + [(*case, *PRECISIONS[1]) for case in CASES[:3]],
)
def test_random_weights_equal_mmagic(
    padding: int, stride: int, frames: tuple, dtype: torch.dtype, tolerance: float, check_equal: Callable[..., None]
) -> None:
    check_equal(dtype, tolerance, frames, num_blocks=2, padding=padding, keyframe_stride=stride)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize(
    ("padding", "t", "mirrored"), [(2, 5, False), (2, 12, False), (2, 5, True), (3, 7, False), (3, 6, True)]
)
def test_full_size_equals_mmagic(
    padding: int, t: int, mirrored: bool, dtype: torch.dtype, tolerance: float, check_equal: Callable[..., None]
) -> None:
    check_equal(dtype, tolerance, (t, 35, 43, "carphone_pristine", mirrored), padding=padding)


def test_parameter_count() -> None:
    for net in (IconVSRNet(), mmagic_net()):
        assert sum(parameter.numel() for parameter in net.parameters()) == 8_694_991


@pytest.mark.parametrize(
    ("t", "stride", "expected"),
    [
        (1, 5, [0]),
        (2, 5, [0, 1]),
        (6, 5, [0, 5]),
        (8, 5, [0, 5, 7]),
        (4, 1, [0, 1, 2, 3]),
        (7, 100, [0, 6]),
        (7, None, []),
    ],
)
def test_keyframes(t: int, stride: int | None, expected: list[int]) -> None:
    assert keyframe_indices(t, stride) == expected


@pytest.mark.parametrize("padding", range(5))
@pytest.mark.parametrize("t", [1, 2, 3, 5, 7])
@torch.no_grad()
def test_any_padding_and_length(t: int, padding: int, randomise: Callable[..., nn.Module]) -> None:
    net = randomise(IconVSRNet(mid_channels=8, num_blocks=1, padding=padding, keyframe_stride=3))
    hr = net(torch.rand(1, t, 3, 7, 5))
    assert hr.shape == (1, t, 3, 28, 20)
    assert hr.isfinite().all()


@pytest.mark.parametrize("stride", [1, 3, 100, None])
@pytest.mark.parametrize("padding", [0, 1, 4])
def test_gradients_reach_every_parameter(padding: int, stride: int | None, randomise: Callable[..., nn.Module]) -> None:
    net = randomise(IconVSRNet(mid_channels=8, num_blocks=1, padding=padding, keyframe_stride=stride))
    net(torch.rand(1, 4, 3, 33, 12, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    for name, parameter in net.named_parameters():
        if stride is None and name.startswith(("edvr.", "backward_fusion.", "forward_fusion.")):
            assert parameter.grad is None, name
        else:
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("mid_channels", "deform_groups"), [(8, 8), (12, 4), (32, 8), (7, 1), (64, 8)])
@torch.no_grad()
def test_any_width(mid_channels: int, deform_groups: int, randomise: Callable[..., nn.Module]) -> None:
    net = randomise(IconVSRNet(mid_channels=mid_channels, num_blocks=1))
    assert net.edvr.pcd_alignment.cas_dcnpack.deform_groups == deform_groups
    assert net(torch.rand(1, 2, 3, 6, 9)).isfinite().all()


@pytest.mark.parametrize("padding", [1, 2, 4])
@torch.no_grad()
def test_refill_features_come_from_the_window_around_the_keyframe(
    padding: int, randomise: Callable[..., nn.Module]
) -> None:
    net = randomise(IconVSRNet(mid_channels=8, num_blocks=1, padding=padding, keyframe_stride=4))
    t = 11
    lrs = torch.rand(1, t, 3, 4, 8)
    expected = net.frame_features(lrs)
    assert list(expected) == [0, 4, 8, 10]
    for j in range(t):
        changed = lrs.clone()
        changed[:, j] = 1 - changed[:, j]
        for i, feat in net.frame_features(changed).items():
            assert torch.equal(feat, expected[i]) == (j not in neighbourhood_indices(i, t, padding)), (i, j)


@torch.no_grad()
def test_refill_changes_keyframes_only(randomise: Callable[..., nn.Module]) -> None:
    net = randomise(IconVSRNet(mid_channels=8, num_blocks=1))
    lr, state, refill = torch.rand(1, 3, 8, 8), torch.rand(1, 8, 8, 8), torch.rand(1, 8, 8, 8)
    flow = torch.zeros(1, 2, 8, 8)
    plain = backward_step(net, lr, flow, state)
    assert not torch.equal(backward_step(net, lr, flow, state, refill), plain)
    assert not torch.equal(forward_step(net, lr, flow, state, state, refill), forward_step(net, lr, flow, state, state))
    # Coupled propagation: the forward branch sees the backward features, also without a keyframe.
    assert not torch.equal(forward_step(net, lr, flow, state, refill), forward_step(net, lr, flow, state, state))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(keyframe_stride=0), "`keyframe_stride` must be at least 1, or None for no keyframes, got 0"),
        (dict(keyframe_stride=-5), "`keyframe_stride` must be at least 1, or None for no keyframes, got -5"),
        (dict(padding=-1), "`padding` must be at least 0 frames, got -1"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IconVSRNet(mid_channels=8, num_blocks=1, **arguments)
