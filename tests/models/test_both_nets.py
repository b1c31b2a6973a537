"""What both networks promise: shapes, gradients, independence, steps, precision, errors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from branch_steps import backward_step, forward_step, reconstruct
from torch import Tensor, nn

from vsr_plugin.models import BasicVSRNet, IconVSRNet
from vsr_plugin.models.spynet import PUBLISHED_WIDTH

NETS = {
    "basicvsr": lambda **kw: BasicVSRNet(**{"mid_channels": 8, "num_blocks": 1, "spynet_width": 4, **kw}),
    "iconvsr": lambda **kw: IconVSRNet(
        **{"mid_channels": 8, "num_blocks": 1, "spynet_width": 4, "keyframe_stride": 3, **kw}
    ),
}


@pytest.fixture(params=NETS)
def build(request: pytest.FixtureRequest, randomise: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Return a function that builds a small network of either kind with random weights."""
    return lambda **arguments: randomise(NETS[request.param](**arguments))


@pytest.fixture
def net(build: Callable[..., nn.Module]) -> nn.Module:
    return build()


def frames(n: int, t: int, h: int, w: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(t * 1000 + h)
    return torch.rand(n, t, 3, h, w, generator=generator, dtype=torch.float64).to(dtype)


def check_gradients(net: nn.Module, lrs: Tensor, idle: tuple[str, ...] = ()) -> None:
    """Every parameter gets a gradient but for those whose names begin with ``idle``, which get none."""
    lrs = lrs.clone().requires_grad_()
    net(lrs).square().sum().backward()
    assert lrs.grad.isfinite().all()
    for i in range(lrs.size(1)):
        assert lrs.grad[:, i].abs().sum() > 0
    for name, parameter in net.named_parameters():
        if name.startswith(idle):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("t", [1, 2, 3, 5, 7])
@pytest.mark.parametrize(("h", "w"), [(1, 1), (7, 5), (33, 20)])
@torch.no_grad()
def test_any_length_and_size(t: int, h: int, w: int, net: nn.Module) -> None:
    hr = net(frames(2 if h < 10 else 1, t, h, w))
    assert hr.shape[1:] == (t, 3, 4 * h, 4 * w)
    assert hr.isfinite().all()
    assert hr.std() > 1e-3


@pytest.mark.parametrize("mid_channels", [8, 12, 32])
def test_gradients_reach_every_parameter(mid_channels: int, build: Callable[..., nn.Module]) -> None:
    # Five frames, so that frames beside keyframes exist; 33 pixels, so that all levels of SPyNet see more than one.
    check_gradients(build(mid_channels=mid_channels), frames(1, 5, 33, 12))


def test_flow_gets_no_gradient_from_a_single_frame(net: nn.Module) -> None:
    check_gradients(net, frames(1, 1, 12, 12), idle=("spynet.",))


@pytest.mark.parametrize(("h", "w"), [(1, 1), (7, 5)])
def test_gradients_are_finite_in_tiny_images(h: int, w: int, net: nn.Module) -> None:
    lrs = frames(1, 3, h, w).requires_grad_()
    net(lrs).square().sum().backward()
    assert lrs.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


@torch.no_grad()
def test_items_of_a_batch_are_independent(net: nn.Module) -> None:
    net = net.double()
    lrs = frames(3, 3, 9, 14, torch.float64)
    alone = torch.cat([net(item[None]) for item in lrs])
    torch.testing.assert_close(net(lrs), alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "scatter",
    [
        lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
        lambda x: x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3),
        lambda x: torch.stack((x, x), dim=-1).flatten(-2)[..., ::2],
        lambda x: x.mT.contiguous().mT,
    ],
    ids=["time_first", "channels_last", "strided", "columns_first"],
)
@torch.no_grad()
def test_non_contiguous_input(scatter: Callable[[Tensor], Tensor], net: nn.Module) -> None:
    lrs = frames(2, 3, 10, 15)
    scattered = scatter(lrs)
    assert not scattered.is_contiguous()
    assert torch.equal(scattered, lrs)
    torch.testing.assert_close(net(scattered), net(lrs), rtol=0, atol=2e-6)


@torch.no_grad()
def test_float64(net: nn.Module) -> None:
    lrs = frames(1, 4, 10, 15)
    single = net(lrs)
    double = net.double()(lrs.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=0, atol=2e-5)


def snapshot(net: nn.Module) -> dict[str, dict]:
    state = {}
    for name, module in net.named_modules():
        attributes = {key: value for key, value in vars(module).items() if not isinstance(value, dict)}
        nested = {
            (key, inner): id(value)
            for key, container in vars(module).items()
            if isinstance(container, dict)
            for inner, value in container.items()
        }
        state[name] = {**{key: (id(value), repr(value)[:80]) for key, value in attributes.items()}, **nested}
    return state


@torch.no_grad()
def test_forward_leaves_the_network_and_its_input_as_they_are(net: nn.Module) -> None:
    lrs = frames(1, 4, 9, 14)
    lrs = torch.cat((lrs, lrs.flip(1)), dim=1)
    state, tensors, before = snapshot(net), {k: v.clone() for k, v in net.state_dict().items()}, lrs.clone()
    net(lrs)
    assert snapshot(net) == state
    assert all(torch.equal(value, tensors[key]) for key, value in net.state_dict().items())
    assert torch.equal(lrs, before)


@torch.no_grad()
def test_results_do_not_depend_on_earlier_calls(net: nn.Module) -> None:
    lrs = frames(1, 4, 9, 14)
    first = net(lrs)
    net(frames(2, 3, 16, 8))
    assert torch.equal(net(lrs), first)


@pytest.mark.parametrize(
    ("lrs", "message"),
    [
        (torch.rand(5, 3, 8, 8), r"must have shape \(n, t, 3, h, w\), got \(5, 3, 8, 8\); add a batch axis"),
        (torch.rand(3, 8, 8), r"must have shape \(n, t, 3, h, w\), got \(3, 8, 8\)$"),
        (torch.rand(1, 2, 4, 8, 8), r"must have shape \(n, t, 3, h, w\), got \(1, 2, 4, 8, 8\)$"),
        (torch.rand(1, 2, 8, 8, 3), r"must have shape \(n, t, 3, h, w\), got \(1, 2, 8, 8, 3\)$"),
        (torch.rand(1, 0, 3, 8, 8), r"at least one frame of at least one pixel, got shape \(1, 0, 3, 8, 8\)"),
        (torch.rand(1, 2, 3, 0, 8), r"at least one frame of at least one pixel, got shape \(1, 2, 3, 0, 8\)"),
        (torch.zeros(1, 2, 3, 8, 8, dtype=torch.uint8), r"must be floating point in \[0, 1\], got torch.uint8; divide"),
    ],
    ids=["no_batch", "no_time", "alpha", "channels_last", "no_frame", "no_pixel", "uint8"],
)
@pytest.mark.parametrize("call", ["forward", "restore_iter"])
def test_bad_input_is_refused(lrs: Tensor, message: str, call: str, net: nn.Module) -> None:
    with pytest.raises(ValueError, match=message):
        list(getattr(net, call)(lrs))


@pytest.mark.parametrize("t", [1, 4])
@torch.no_grad()
def test_restore_iter_equals_forward(t: int, net: nn.Module) -> None:
    lrs = frames(2, t, 9, 14)
    assert torch.equal(torch.stack(list(net.restore_iter(lrs)), dim=1), net(lrs))


@torch.no_grad()
def test_steps_are_announced_backward_then_forward(net: nn.Module) -> None:
    events = []
    for i, _ in enumerate(net.restore_iter(frames(1, 4, 8, 8), on_step=events.append)):
        # A frame is announced before it is handed out, and not before it is asked for.
        assert events == [3, 2, 1, 0, *range(i + 1)]
    assert len(events) == 8


@torch.no_grad()
def test_nothing_is_computed_before_the_first_frame_is_asked_for(net: nn.Module) -> None:
    events = []
    net.restore_iter(frames(1, 4, 8, 8), on_step=events.append)
    assert events == []


@pytest.mark.parametrize("t", [1, 5])
@torch.no_grad()
def test_steps_driven_by_hand_equal_forward(t: int, net: nn.Module) -> None:
    lrs = frames(2, t, 12, 16)
    flows_forward, flows_backward = net.estimate_flows(lrs)
    refill = net.frame_features(lrs)
    feats = {}
    state = None
    for i in range(t - 1, -1, -1):
        flow = flows_backward[:, i] if i + 1 < t else None
        feats[i] = state = backward_step(net, lrs[:, i], flow, state, refill.get(i))
    state, hrs = None, []
    for i in range(t):
        flow = flows_forward[:, i - 1] if i else None
        state = forward_step(net, lrs[:, i], flow, state, feats[i], refill.get(i))
        hrs.append(reconstruct(net, lrs[:, i], feats[i], state))
    assert torch.equal(torch.stack(hrs, dim=1), net(lrs))


@torch.no_grad()
def test_steps_leave_states_as_they_are(net: nn.Module) -> None:
    lrs = frames(1, 2, 12, 16)
    flow = net.estimate_flows(lrs)[0][:, 0]
    refill = net.frame_features(lrs).get(0)
    state, feat = torch.randn(2, 1, 8, 12, 16).unbind()
    kept = [tensor.clone() for tensor in (lrs, flow, state, feat) + (() if refill is None else (refill,))]
    backward_step(net, lrs[:, 0], flow, state, refill)
    forward_step(net, lrs[:, 0], flow, state, feat, refill)
    reconstruct(net, lrs[:, 0], feat, state)
    for before, after in zip(kept, (lrs, flow, state, feat, refill), strict=False):
        assert torch.equal(before, after)


@torch.no_grad()
def test_autocast_leaves_the_flow_alone(build: Callable, real_spynet: Callable, lr_frames: Callable) -> None:
    net, lrs = real_spynet(build(spynet_width=PUBLISHED_WIDTH)), lr_frames(4, 12, 20)
    expected = net.estimate_flows(lrs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net.estimate_flows(lrs)
        hr = net(lrs)
    assert all(flow.dtype == torch.float32 for flow in found)
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))
    assert (hr.float() - net(lrs)).square().mean() < 1e-4


@pytest.mark.parametrize("cast", [lambda n: n.half(), lambda n: n.to(torch.bfloat16)], ids=["half", "bfloat16"])
def test_half_precision_weights_leave_spynet_in_float32(cast: Callable, net: nn.Module) -> None:
    cast(net)
    for name, tensor in net.state_dict().items():
        assert (tensor.dtype == torch.float32) == name.startswith("spynet."), name


@torch.no_grad()
def test_bfloat16_weights_and_frames(net: nn.Module) -> None:
    lrs = frames(1, 4, 12, 17).bfloat16()
    expected = net(lrs.float())
    found = net.bfloat16()(lrs)
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).abs().max() < 0.02 * expected.abs().max()


def test_constructors_refuse_unknown_arguments(build: Callable[..., nn.Module]) -> None:
    with pytest.raises(TypeError, match="mid_chanels"):
        build(mid_chanels=8)


def test_constructors_load_nothing(build: Callable[..., nn.Module]) -> None:
    assert build(spynet_pretrained="no such file") is not None
