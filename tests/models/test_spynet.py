"""SPyNet: MMagic's flow on the same weights, and the ways of driving it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vsr_plugin.models import SPyNet
from vsr_plugin.weights import load_into

SIZES = [(64, 64), (33, 65), (36, 44), (7, 5), (1, 1), (1, 40)]


@pytest.fixture(scope="module")
def spynet(official: str) -> SPyNet:
    net = SPyNet()
    load_into(net, official)
    return net.eval()


@pytest.fixture(scope="module")
def mmagic_spynet(spynet: SPyNet):
    from mmagic.models.editors.basicvsr.basicvsr_net import SPyNet as MMagicSPyNet

    net = MMagicSPyNet(pretrained=None).eval()
    net.load_state_dict(spynet.state_dict(), strict=True)
    return net


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize(("h", "w"), SIZES)
@torch.no_grad()
def test_equals_mmagic(
    h: int,
    w: int,
    dtype: torch.dtype,
    tolerance: float,
    spynet: SPyNet,
    mmagic_spynet,
    lr_frames: Callable[..., Tensor],
) -> None:
    frames = lr_frames(3, h, w)[0].to(dtype)
    ref, supp = frames[:2], frames[1:]
    spynet.to(dtype), mmagic_spynet.to(dtype)
    try:
        found, expected = spynet(ref, supp), mmagic_spynet(ref, supp)
    finally:
        spynet.float(), mmagic_spynet.float()
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@torch.no_grad()
def test_flow_of_a_shifted_image_is_the_shift(spynet: SPyNet, lr_frames: Callable[..., Tensor]) -> None:
    frame = lr_frames(1, 64, 96)[0]
    for axis, channel in ((-1, 0), (-2, 1)):
        # What is at x in the first is at x + 3 in the second.
        flow = spynet(frame, frame.roll(3, axis))[0, :, 16:48, 16:80]
        assert abs(flow[channel].median() - 3) < 0.3
        assert flow[1 - channel].abs().median() < 0.3


@pytest.mark.parametrize(("n", "t", "h", "w"), [(1, 2, 33, 65), (2, 4, 20, 31), (1, 1, 8, 9), (2, 3, 1, 1)])
def test_neighbour_flows_equal_pairwise_flow(
    n: int, t: int, h: int, w: int, spynet: SPyNet, lr_frames: Callable[..., Tensor]
) -> None:
    frames = torch.cat([lr_frames(t, h, w, clip) for clip in ("bikes", "carphone_pristine")[:n]])
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            forward, backward = spynet.neighbour_flows(frames)
            assert forward.shape == backward.shape == (n, t - 1, 2, h, w)
            for i in range(t - 1):
                a, b = frames[:, i], frames[:, i + 1]
                torch.testing.assert_close(forward[:, i], spynet(b, a), rtol=0, atol=2e-5)
                torch.testing.assert_close(backward[:, i], spynet(a, b), rtol=0, atol=2e-5)


@pytest.mark.parametrize("pairs", [0, 1, 2, 5, 100])
@torch.no_grad()
def test_batches_of_pairs_change_nothing(
    pairs: int, spynet: SPyNet, lr_frames: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    h, w = 20, 40
    frames = torch.cat([lr_frames(4, h, w, clip) for clip in ("bikes", "carphone_pristine")])
    expected = spynet.neighbour_flows(frames)
    sizes = []
    compute = spynet.compute_flow
    monkeypatch.setattr(spynet, "compute_flow", lambda r, s: sizes.append(len(r[0])) or compute(r, s))
    found = spynet.neighbour_flows(frames, max_pixels=max(1, pairs * h * w))
    assert sum(sizes) == 12
    assert max(sizes) == min(max(pairs, 1), 12)
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e, rtol=0, atol=2e-5)


@torch.no_grad()
def test_autocast_changes_nothing(spynet: SPyNet, lr_frames: Callable[..., Tensor]) -> None:
    frames = lr_frames(3, 40, 40)
    expected, pair = spynet.neighbour_flows(frames), spynet(frames[:, 0], frames[:, 1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, found_pair = spynet.neighbour_flows(frames), spynet(frames[:, 0], frames[:, 1])
    assert found_pair.dtype == torch.float32
    assert torch.equal(found_pair, pair)
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    "cast",
    [
        lambda net: net.half(),
        lambda net: net.bfloat16(),
        lambda net: net.to(torch.bfloat16),
        lambda net: net.to("cpu", torch.float16),
        lambda net: net.double().half(),
    ],
    ids=["half", "bfloat16", "to_bfloat16", "to_cpu_float16", "double_half"],
)
def test_casting_to_half_precision_keeps_the_weights(cast: Callable, official: str) -> None:
    net = torch.nn.Sequential(SPyNet(), torch.nn.Conv2d(2, 2, 1))
    load_into(net[0], official)
    before = {key: value.clone() for key, value in net[0].state_dict().items()}
    cast(net)
    assert net[1].weight.dtype in (torch.float16, torch.bfloat16)
    for key, value in net[0].state_dict().items():
        assert value.dtype in (torch.float32, torch.float64)
        assert torch.equal(value.float(), before[key])


def test_half_precision_frames_give_float32_flow(spynet: SPyNet) -> None:
    frames = torch.rand(1, 2, 3, 32, 32).bfloat16()
    with torch.no_grad():
        assert torch.equal(spynet.neighbour_flows(frames)[0], spynet.neighbour_flows(frames.float())[0])


def test_gradients_reach_every_parameter_and_the_frames(spynet: SPyNet, lr_frames: Callable[..., Tensor]) -> None:
    frames = lr_frames(2, 36, 44).clone().requires_grad_()
    spynet.zero_grad()
    sum(flow.square().sum() for flow in spynet.neighbour_flows(frames)).backward()
    assert frames.grad.abs().sum() > 0
    for name, parameter in spynet.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    spynet.zero_grad()
