"""What each alignment and the refill do to the propagated features."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from branch_steps import align, backward_step
from torch import nn
from variants import make, sequence

from vsr_plugin.models import BasicVSRNet, IconVSRNet
from vsr_plugin.models.propagation import PROPAGATIONS


def without_motion(net: nn.Module) -> nn.Module:
    """Let the flow network find that nothing moves."""
    for level in net.spynet.basic_module:
        nn.init.zeros_(level.basic_module[-1].conv.weight)
        nn.init.zeros_(level.basic_module[-1].conv.bias)
    return net


@pytest.mark.parametrize("propagation", PROPAGATIONS.names())
@torch.no_grad()
def test_no_alignment_is_feature_alignment_without_motion(propagation: str, randomise: Callable) -> None:
    feature = without_motion(randomise(make(propagation=propagation)))
    none = make(propagation=propagation, alignment="none")
    none.load_state_dict({k: v for k, v in feature.state_dict().items() if not k.startswith("spynet.")})
    lrs = sequence(4)
    torch.testing.assert_close(none(lrs), feature(lrs), rtol=0, atol=2e-6)


@torch.no_grad()
def test_image_alignment_that_looks_at_no_neighbour_is_no_alignment(randomise: Callable) -> None:
    image, none = randomise(make(alignment="image")), make(alignment="none")
    for branch in (image.backward_resblocks, image.forward_resblocks):
        branch.main[0].weight[:, 3 + 8 :] = 0
    weights = {k: v for k, v in image.state_dict().items() if not k.startswith("spynet.")}
    for key in ("backward_resblocks.main.0.weight", "forward_resblocks.main.0.weight"):
        weights[key] = weights[key][:, : 3 + 8]
    none.load_state_dict(weights)
    lrs = sequence(4)
    torch.testing.assert_close(image(lrs), none(lrs), rtol=0, atol=2e-6)


@torch.no_grad()
def test_image_alignment_warps_the_neighbouring_frame_and_nothing_else(nets: dict) -> None:
    net = nets[BasicVSRNet, "bidirectional", "image"]
    feat, neighbour, lr = torch.rand(1, 8, 6, 9), torch.rand(1, 3, 6, 9), torch.rand(1, 3, 6, 9)
    state = net.alignment.carry(feat, neighbour)
    flow = torch.zeros(1, 2, 6, 9)
    still = align(net, state, flow, lr)
    torch.testing.assert_close(still, torch.cat((feat, neighbour), dim=1), rtol=0, atol=1e-6)
    flow[:, 0] = 2
    moved = align(net, state, flow, lr)
    assert torch.equal(moved[:, :8], feat)
    torch.testing.assert_close(moved[:, 8:, :, :-2], neighbour[..., 2:], rtol=0, atol=1e-6)
    assert torch.equal(net.features(state), feat)
    # The step hands the frame on with the features.
    assert torch.equal(backward_step(net, lr, flow, state)[:, 8:], lr)


@torch.no_grad()
def test_at_the_start_nothing_is_aligned(nets: dict) -> None:
    for (_, _, alignment), net in nets.items():
        sweep = net.propagation.sweeps[-1]
        none = (None,) * sweep.order
        start = net.align(sweep, torch.rand(2, 3, 4, 5), none, none)
        channels = {"image": 11, "deformable": 8}.get(alignment, 8)
        number = 1 if alignment == "deformable" else sweep.order
        assert [tuple(feat.shape) for feat in start] == number * [(2, channels, 4, 5)]
        assert not any(feat.any() for feat in start)


def test_only_alignments_that_use_flow_have_a_flow_network(nets: dict) -> None:
    for (_, _, alignment), net in nets.items():
        assert any(key.startswith("spynet.") for key in net.state_dict()) == (alignment != "none")
        assert any(key.startswith("alignment.") for key in net.state_dict()) == (alignment == "deformable")


@pytest.mark.parametrize("propagation", PROPAGATIONS.names())
@pytest.mark.parametrize("alignment", ["none", "image", "feature"])
@torch.no_grad()
def test_refill_without_keyframes_is_no_refill(propagation: str, alignment: str, nets: dict) -> None:
    plain = nets[BasicVSRNet, propagation, alignment]
    net = make(IconVSRNet, propagation, alignment, keyframe_stride=None)
    missing, unexpected = net.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    refill = {"edvr", *(f"{sweep.name}_fusion" for sweep in net.propagation.sweeps)}
    assert {key.split(".")[0] for key in missing} <= refill
    lrs = sequence(5)
    torch.testing.assert_close(net(lrs), plain(lrs), rtol=0, atol=2e-6)
    net.keyframe_stride = 3
    assert (net(lrs) - plain(lrs)).abs().max() > 1e-4


def test_one_branch_is_refilled_by_one_convolution(nets: dict) -> None:
    net = nets[IconVSRNet, "unidirectional", "feature"]
    assert not any(key.startswith(("backward", "fusion.")) for key in net.state_dict())


def test_segments_have_keyframes_and_neighbourhoods_of_their_own(nets: dict) -> None:
    net = nets[IconVSRNet, "local", "feature"]
    windows = net.feature_windows(10)
    assert list(windows) == [0, 3, 4, 5, 8, 9]
    assert all({j // 5 for j in window} == {i // 5} for i, window in windows.items())
