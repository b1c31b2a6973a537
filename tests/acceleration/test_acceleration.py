"""Accelerated networks against the plain ones."""

import pytest
import torch
import torch.nn as nn
from branch_steps import backward_step, forward_step, reconstruct

from vsr_plugin.acceleration import FiniteGuard, accelerate
from vsr_plugin.acceleration.precision import feature_dtype
from vsr_plugin.errors import VSRError
from vsr_plugin.models import BasicVSRNet, BasicVSRPlusPlusNet, IconVSRNet, SPyNet


def _has_bf16() -> bool:
    try:
        feature_dtype("bf16", torch.device("cpu"))
    except VSRError:
        return False
    return True


needs_bf16 = pytest.mark.skipif(not _has_bf16(), reason="no bf16 arithmetic on this CPU")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@torch.no_grad()
def _seeded(net_class: type, mid_channels: int = 16, num_blocks: int = 2, **arguments) -> nn.Module:
    torch.manual_seed(0)
    net = net_class(mid_channels=mid_channels, num_blocks=num_blocks, **arguments)
    for name, parameter in net.named_parameters():
        # Nothing idle: displacements and flows of a few pixels, residues that count.
        if name.endswith(("conv_offset.weight", "conv_offset.6.weight")):
            parameter.normal_(std=4 / parameter[0].numel() ** 0.5)
        elif ("resblocks" in name or "backbone" in name) and parameter.dim() > 1:
            parameter.mul_(3)
    return net


@pytest.fixture(scope="module")
def nets() -> dict[str, nn.Module]:
    return {
        "basicvsr": _seeded(BasicVSRNet),
        "iconvsr": _seeded(IconVSRNet, keyframe_stride=3),
        "basicvsr_pp": _seeded(BasicVSRPlusPlusNet),
        "basicvsr_pp_x1": _seeded(BasicVSRPlusPlusNet, is_low_res_input=False),
    }


def _lrs(t: int, h: int, w: int, n: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(t)
    return torch.rand(n, t, 3, h, w, generator=generator)


ALL = ["basicvsr", "iconvsr", "basicvsr_pp", "basicvsr_pp_x1"]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("t", "h", "w", "n"), [(1, 24, 32, 1), (2, 33, 41, 1), (5, 24, 36, 2), (3, 70, 20, 1)])
@torch.no_grad()
def test_float32_is_the_plain_net(nets, name, t, h, w, n):
    lrs = _lrs(t, h, w, n)
    expected = nets[name].eval()(lrs)
    got = accelerate(nets[name])(lrs)
    assert got.dtype == torch.float32
    assert got.shape == expected.shape
    assert (got - expected).abs().max() < 1e-4


@needs_bf16
@pytest.mark.parametrize("name", ALL)
@torch.no_grad()
def test_bf16_stays_close(nets, name):
    lrs = _lrs(5, 37, 44)
    found, expected = accelerate(nets[name], precision="bf16")(lrs), nets[name].eval()(lrs)
    assert found.dtype == torch.float32
    assert _psnr(found, expected) >= 50
    # What is lost is nothing beside what the restored frames lack.
    gt = nn.functional.interpolate(_lrs(5, 4 * 37, 4 * 44)[0], size=expected.shape[-2:])
    assert abs(_psnr(found[0], gt) - _psnr(expected[0], gt)) < 0.01


def _psnr(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return -10 * torch.log10((a - b).square().mean())


@pytest.mark.parametrize("net_class", [BasicVSRNet, IconVSRNet])
@torch.no_grad()
def test_other_widths(net_class):
    net = _seeded(net_class, mid_channels=6, num_blocks=1).eval()
    lrs = _lrs(3, 20, 24)
    assert (accelerate(net)(lrs) - net(lrs)).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["basicvsr", "iconvsr"])
@torch.no_grad()
def test_steps_are_those_of_the_plain_net(nets, name):
    net, fast = nets[name].eval(), accelerate(nets[name])
    assert isinstance(fast, type(net))
    for attribute in ("scale", "size_multiple", "mid_channels"):
        assert getattr(fast, attribute) == getattr(net, attribute)
    lrs = _lrs(4, 24, 32)
    forward, backward = fast.estimate_flows(lrs)
    plain_forward, plain_backward = net.estimate_flows(lrs)
    torch.testing.assert_close(forward, plain_forward, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(backward, plain_backward, atol=1e-4, rtol=1e-4)
    refill, plain_refill = fast.frame_features(lrs), net.frame_features(lrs)
    assert refill.keys() == plain_refill.keys()
    for i in refill:
        torch.testing.assert_close(refill[i], plain_refill[i], atol=1e-4, rtol=1e-4)

    # The loop of restore_iter, written out over the steps.
    backward_feats, state = {}, None
    for i in reversed(range(4)):
        state = backward_step(fast, lrs[:, i], backward[:, i] if i < 3 else None, state, refill.get(i))
        backward_feats[i] = state
    kept = [feat.clone() for feat in backward_feats.values()]
    state, frames = None, []
    for i in range(4):
        flow = forward[:, i - 1] if i else None
        state = forward_step(fast, lrs[:, i], flow, state, backward_feats[i], refill.get(i))
        frames.append(reconstruct(fast, lrs[:, i], backward_feats[i], state))
    assert all(torch.equal(a, b) for a, b in zip(kept, backward_feats.values(), strict=True)), "a state was changed"
    for frame, expected in zip(frames, fast.restore_iter(lrs), strict=True):
        torch.testing.assert_close(frame, expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_windows_go_straight_to_the_extractor(nets):
    net = nets["iconvsr"].eval()
    lrs = _lrs(5, 22, 30)
    torch.testing.assert_close(accelerate(net).edvr(lrs), net.edvr(lrs), atol=1e-4, rtol=1e-4)


def test_net_stays_as_it_was(nets):
    net = nets["basicvsr"].train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    fast = accelerate(net)
    with torch.no_grad():
        fast(_lrs(2, 16, 16))
    assert net.training
    assert not fast.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    net(_lrs(2, 16, 16)).mean().backward()
    assert net.conv_last.weight.grad is not None
    net.zero_grad()


def test_precisions_that_cannot_be(nets):
    with pytest.raises(VSRError, match="precision 'int4' does not exist; choose one of fp32, int16, bf16, fp16"):
        accelerate(nets["basicvsr"], precision="int4")
    with pytest.raises(VSRError, match="SPyNet cannot be accelerated"):
        accelerate(SPyNet())


@pytest.mark.parametrize("on_cpu", [True, False])
def test_what_is_accelerated_is_not_accelerated_again(nets, monkeypatch, on_cpu):
    monkeypatch.setattr("vsr_plugin.acceleration.cpu.components.worthwhile", lambda dtype: on_cpu)
    with pytest.raises(VSRError, match="BasicVSRNet has been accelerated; give the network that it was made from"):
        accelerate(accelerate(nets["basicvsr"]))


def test_precision_that_the_processor_lacks(nets, monkeypatch):
    monkeypatch.setattr("vsr_plugin.acceleration.precision._cpu_computes", lambda dtype: False)
    with pytest.raises(VSRError, match="this CPU has no arithmetic for precision 'fp16'; use fp32"):
        accelerate(nets["basicvsr"], precision="fp16")


def test_guard():
    guard = FiniteGuard()
    assert not guard.tripped()
    guard.watch(torch.full((4, 4), 60000.0, dtype=torch.float16))
    assert not guard.tripped(), "the sum must not overflow"
    guard.watch(torch.tensor([1.0, float("nan")]), torch.ones(2))
    guard.watch(torch.ones(2))
    assert guard.tripped()
    guard = FiniteGuard()
    guard.watch(torch.tensor([float("inf"), -float("inf")]))
    assert guard.tripped()


@needs_bf16
@torch.no_grad()
def test_guard_sees_an_overflow_in_a_net(nets):
    net = accelerate(nets["basicvsr"], precision="bf16")
    net.backward_resblocks.conv.bias.fill_(float("inf"))
    guard = FiniteGuard()
    guard.watch(backward_step(net, _lrs(1, 16, 16)[:, 0]))
    assert guard.tripped()


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@torch.no_grad()
def test_on_a_gpu(nets, precision):
    lrs = _lrs(3, 33, 41).cuda()
    for net in nets.values():
        net = net.eval()
        expected = net(lrs.cpu())
        got = accelerate(net.cuda(), precision=precision)(lrs).cpu()
        net.cpu()
        assert -10 * torch.log10((got - expected).square().mean()) >= 50
