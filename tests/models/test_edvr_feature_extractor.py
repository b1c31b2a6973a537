"""The extractor of EDVR-M against MMagic's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vsr_plugin.models import EDVRFeatureExtractor, aggregation

#: Small, and unlike the defaults in everything.
SMALL = dict(mid_channels=16, num_frames=3, deform_groups=4, num_blocks_extraction=2)


def mmagic_extractor(**arguments) -> nn.Module:
    from mmagic.models.editors.iconvsr.iconvsr_net import EDVRFeatureExtractor as MMagicExtractor

    return MMagicExtractor(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        dict(),
        dict(num_frames=7, center_frame_idx=3),
        dict(SMALL, center_frame_idx=1),
        dict(SMALL, center_frame_idx=0),
        dict(SMALL, center_frame_idx=1, with_tsa=False),
    ],
    ids=["reds", "vimeo90k", "small", "centre_first", "without_tsa"],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-10)])
@torch.no_grad()
def test_equals_mmagic(
    arguments: dict,
    dtype: torch.dtype,
    tolerance: float,
    lr_frames: Callable[..., Tensor],
    randomise: Callable[..., nn.Module],
    request: pytest.FixtureRequest,
) -> None:
    if dtype == torch.float64:
        request.getfixturevalue("mmagic_in_float64")
    theirs = randomise(mmagic_extractor(**arguments)).to(dtype)
    ours = EDVRFeatureExtractor(**arguments).to(dtype)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict(), strict=True)
    for clip, h, w in (("bikes", 24, 36), ("carphone_pristine", 16, 16)):
        frames = lr_frames(ours.num_frames, h, w, clip).to(dtype)
        found = ours(frames)
        assert found.std() > 1e-3
        torch.testing.assert_close(found, theirs(frames), rtol=0, atol=tolerance)


def test_displacements_of_the_comparison_are_not_zero(
    lr_frames: Callable[..., Tensor], randomise: Callable[..., nn.Module]
) -> None:
    net = randomise(EDVRFeatureExtractor())
    largest = []
    for module in net.modules():
        if hasattr(module, "conv_offset"):
            module.conv_offset.register_forward_hook(
                lambda module, args, out: largest.append(out[:, : out.size(1) * 2 // 3].abs().max().item())
            )
    with torch.no_grad():
        net(lr_frames(5, 24, 36))
    assert len(largest) == 4
    assert min(largest) > 0.3


def test_default_centre_is_the_middle() -> None:
    assert EDVRFeatureExtractor(mid_channels=8, num_frames=7).center_frame_idx == 3


@pytest.mark.parametrize(("h", "w"), [(1, 1), (7, 5), (33, 17)])
@pytest.mark.parametrize("with_tsa", [True, False])
def test_any_size(h: int, w: int, with_tsa: bool, randomise: Callable[..., nn.Module]) -> None:
    net = randomise(EDVRFeatureExtractor(**SMALL, with_tsa=with_tsa))
    frames = torch.rand(2, 3, 3, h, w, requires_grad=True)
    feat = net(frames)
    assert feat.shape == (2, 16, h, w)
    feat.square().sum().backward()
    assert frames.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


@pytest.mark.parametrize("t", [1, 5])
def test_wrong_window_length_is_refused(t: int) -> None:
    net = EDVRFeatureExtractor(**SMALL)
    with pytest.raises(ValueError, match=rf"windows of 3 frames, got shape \(1, {t}, 3, 8, 8\)"):
        net(torch.rand(1, t, 3, 8, 8))


def test_windows_of_a_batch_do_not_see_each_other(randomise: Callable[..., nn.Module]) -> None:
    net = randomise(EDVRFeatureExtractor(**SMALL)).double()
    frames = torch.rand(3, 3, 3, 9, 10, dtype=torch.float64)
    with torch.no_grad():
        together, alone = net(frames), torch.cat([net(window[None]) for window in frames])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("pairs", [0, 1, 2, 4])
@torch.no_grad()
def test_batches_of_neighbours_change_nothing(
    pairs: int, randomise: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = randomise(EDVRFeatureExtractor(**SMALL)).double()
    frames = torch.rand(2, 3, 3, 8, 12, dtype=torch.float64)
    expected = net(frames)
    sizes = []
    net.pcd_alignment.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0][0])))
    monkeypatch.setattr(aggregation, "batch_pixels", lambda frames: pairs * 8 * 12)
    torch.testing.assert_close(net(frames), expected, rtol=0, atol=1e-12)
    assert sum(sizes) == 6
    assert max(sizes) == max(pairs, 1)


@pytest.mark.parametrize("deform_groups", [8, 0, -4])
def test_deform_groups_must_divide_the_channels(deform_groups: int) -> None:
    # mmcv's kernel does not mind, and leaves channels out.
    with pytest.raises(ValueError, match=f"`deform_groups` must divide the 12 channels, got {deform_groups}"):
        EDVRFeatureExtractor(mid_channels=12, deform_groups=deform_groups)
