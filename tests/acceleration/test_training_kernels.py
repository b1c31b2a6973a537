"""Gradients by our CPU kernels against PyTorch's in float64, and networks that are trained with them."""

import copy
import functools

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from vsr_plugin.acceleration import accelerate_training, training_path
from vsr_plugin.acceleration.cpu import gradients, kernels
from vsr_plugin.acceleration.cpu.gradients import TrainedConv, last_conv, residual_block
from vsr_plugin.acceleration.cpu.kernels import WinogradConv, jit, parallel, self_test, weight_gradient
from vsr_plugin.acceleration.cpu.training import CPUTraining
from vsr_plugin.models import BasicVSRNet, IconVSRNet
from vsr_plugin.models.spynet import SPyNet

every_width = pytest.mark.usefixtures("lanes")
by_kernels = pytest.mark.skipif(jit.host()[0] is None, reason=f"no CPU kernels: {jit.host()[1]}")
#: Largest error of a gradient, its norm by that of the gradient in float64.
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def features(*shape):
    return torch.randn(*shape).contiguous(memory_format=torch.channels_last)


def relative_error(ours, expected):
    assert ours.shape == expected.shape
    return ((ours - expected).norm() / expected.norm()).item()


def assert_same_gradients(ours, plain, *tensors):
    """Of two functions of the same tensors, in float32 and in float64."""
    single, double = ([t.to(dtype).requires_grad_() for t in tensors] for dtype in (torch.float32, torch.float64))
    result, expected = ours(*single), plain(*double)
    assert relative_error(result, expected) < TOLERANCE
    weights = torch.randn(result.shape)
    computed = torch.autograd.grad(result, single, weights), torch.autograd.grad(expected, double, weights.double())
    for got, wanted in zip(*computed, strict=True):
        assert relative_error(got, wanted) < TOLERANCE


# Kernels


@every_width
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 4), (5, 1), (13, 22), (31, 65)])
@pytest.mark.parametrize(("c_in", "c_out"), [(16, 16), (64, 64), (24, 40), (12, 44)])
def test_gradient_of_weights(size, c_in, c_out):
    x, gradient = features(2, c_in, *size), features(2, c_out, *size)
    weight = torch.zeros(c_out, c_in, 3, 3, dtype=torch.float64)
    expected = torch.ops.aten.convolution_backward(
        *(gradient.double(), x.double(), weight, [c_out]), [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [False, True, True]
    )
    for ours, wanted in zip(weight_gradient(x, gradient, 3), expected[1:], strict=True):
        assert relative_error(ours, wanted) < TOLERANCE


@by_kernels
def test_rounding_of_the_gradient_of_weights_does_not_grow_with_the_image():
    x, gradient = features(1, 16, 250, 250), features(1, 16, 250, 250)
    weight = torch.zeros(16, 16, 3, 3, dtype=torch.float64)
    expected = torch.ops.aten.convolution_backward(
        *(gradient.double(), x.double(), weight, [16]), [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [False, True, False]
    )[1]
    assert relative_error(weight_gradient(x, gradient, 3)[0], expected) < 3e-6


@by_kernels
def test_strided_features_are_read_where_they_are():
    wide = features(2, 40, 18, 20)
    x, gradient = wide[:, 8:24, ::2, ::2], wide[:, 24:, 1::2, 1::2]
    for ours, copied in zip(
        weight_gradient(x, gradient, 3), weight_gradient(x.contiguous(), gradient.contiguous(), 3), strict=True
    ):
        assert torch.equal(ours, copied)


@by_kernels
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_threads_give_the_same_bits(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        x, gradient = features(2, 16, 61, 30), features(2, 16, 61, 30)
        first = weight_gradient(x, gradient, 3)
        for _ in range(5):
            assert all(map(torch.equal, weight_gradient(x, gradient, 3), first))
    finally:
        torch.set_num_threads(before)


@by_kernels
def test_fewer_threads_than_asked_for_do_all_of_the_work(monkeypatch):
    """As OpenMP gives them under OMP_THREAD_LIMIT."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        x, gradient = features(2, 16, 61, 30), features(2, 16, 61, 30)
        expected = weight_gradient(x, gradient, 3)
        monkeypatch.setattr(parallel, "_openmp", lambda: lambda task, address, *_: parallel._TASK(task)(address))
        assert all(map(torch.equal, weight_gradient(x, gradient, 3), expected))
    finally:
        torch.set_num_threads(before)


@every_width
@pytest.mark.parametrize("slope", [0.0, 0.1])
@pytest.mark.parametrize("added", [False, True])
def test_derivative_of_an_activation(slope, added):
    x, gate, residual = (features(2, 16, 9, 10) for _ in range(3))
    conv = nn.Conv2d(16, 16, 3, padding=1)
    ours = WinogradConv(conv.weight, conv.bias, 0.5)(
        x, residual=residual if added else None, gate=gate, gate_slope=slope
    )
    expected = (conv(x) + added * residual) * torch.where(gate > 0, 1, slope)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


def test_gradient_without_a_kernel():
    with pytest.raises(RuntimeError, match=r"no kernel for the gradient of weights \(7, 16, 3, 3\)"):
        weight_gradient(features(1, 16, 4, 4), features(1, 7, 4, 4), 3)
    with pytest.raises(ValueError, match="expected float32 features"):
        weight_gradient(features(1, 16, 4, 4).double(), features(1, 16, 4, 4), 3)


# Layers


@by_kernels
@pytest.mark.parametrize("size", [(1, 16, 1, 1), (1, 16, 5, 7), (2, 24, 13, 9)])
def test_convolution(size):
    n, c, h, w = size
    x, residual = torch.randn(size), torch.randn(n, 32, h, w)
    weight, bias = torch.randn(32, c, 3, 3) / 12, torch.randn(32)
    assert_same_gradients(
        lambda x, weight, bias, residual: TrainedConv(weight, bias)(x, residual),
        lambda x, weight, bias, residual: F.conv2d(x, weight, bias, padding=1) + residual,
        *(x, weight, bias, residual),
    )


@by_kernels
@pytest.mark.parametrize("n", [1, 3])
def test_residual_block(n):
    x = torch.randn(n, 16, 7, 9)
    parameters = torch.randn(16, 16, 3, 3) / 12, torch.randn(16), torch.randn(16, 16, 3, 3) / 12, torch.randn(16)

    def ours(x, w1, b1, w2, b2):
        return residual_block(x, TrainedConv(w1, b1, slope=0.0), TrainedConv(w2, b2, slope_before=0.0))

    def plain(x, w1, b1, w2, b2):
        return x + F.conv2d(F.relu(F.conv2d(x, w1, b1, padding=1)), w2, b2, padding=1)

    assert_same_gradients(ours, plain, x, *parameters)


@by_kernels
@pytest.mark.parametrize("factor", [2, 3])
def test_upsampling_to_few_channels(factor):
    c = 2 * jit.vector_lanes()
    x, w1, b1 = torch.randn(2, 16, 5, 6), torch.randn(c * factor**2, 16, 3, 3) / 12, torch.randn(c * factor**2)
    w2, b2, w3, b3 = torch.randn(16, c, 3, 3) / 12, torch.randn(16), torch.randn(3, 16, 3, 3) / 12, torch.randn(3)

    def ours(x, w1, b1, w2, b2, w3, b3):
        x = TrainedConv(w1, b1, slope=0.1, shuffle=factor)(x)
        x = TrainedConv(w2, b2, slope=0.1, slope_before=0.1)(x)
        return last_conv(x, w3, b3, 0.1)

    def plain(x, w1, b1, w2, b2, w3, b3):
        x = F.leaky_relu(F.pixel_shuffle(F.conv2d(x, w1, b1, padding=1), factor), 0.1)
        return F.conv2d(F.leaky_relu(F.conv2d(x, w2, b2, padding=1), 0.1), w3, b3, padding=1)

    assert_same_gradients(ours, plain, x, w1, b1, w2, b2, w3, b3)


@by_kernels
def test_flow_of_a_level(trained_at_any_size):
    plain = SPyNet()
    ours, double = CPUTraining.of(BasicVSRNet(mid_channels=16, num_blocks=0)), copy.deepcopy(plain).double()
    ours.spynet.load_state_dict(plain.state_dict())
    flow, calls = ours.spynet, []
    flow.trained = counting(calls, flow.trained)
    x = torch.randn(2, 8, 9, 7)
    single, precise = x.clone().requires_grad_(), x.double().requires_grad_()
    result, expected = flow.residue(2, single), double.residue(2, precise)
    assert len(calls) == 4
    weights = torch.randn(result.shape)
    result.mul(weights).sum().backward()
    expected.mul(weights).sum().backward()
    assert relative_error(result, expected) < TOLERANCE
    assert relative_error(single.grad, precise.grad) < TOLERANCE
    levels = (net.basic_module[2].named_parameters() for net in (ours.spynet, double))
    for (name, got), (_, wanted) in zip(*levels, strict=True):
        assert relative_error(got.grad, wanted.grad) < TOLERANCE, name


@by_kernels
@pytest.mark.parametrize("frozen", ["input", "weights", "first", "second", "biases"])
def test_what_needs_no_gradient_gets_none_and_costs_none(frozen, monkeypatch):
    calls = []
    monkeypatch.setattr(gradients, "weight_gradient", lambda *args: calls.append(1) or weight_gradient(*args))
    x = torch.randn(1, 16, 6, 6, requires_grad=frozen != "input")
    convs = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
    of_frozen = {
        "input": [], "weights": [p for conv in convs for p in conv.parameters()],
        "first": list(convs[0].parameters()), "second": list(convs[1].parameters()),
        "biases": [conv.bias for conv in convs],
    }[frozen]  # fmt: skip
    for parameter in of_frozen:
        parameter.requires_grad_(False)
    first, second = (
        TrainedConv(conv.weight, conv.bias, **settings)
        for conv, settings in zip(convs, (dict(slope=0.0), dict(slope_before=0.0)), strict=True)
    )
    residual_block(x, first, second).square().sum().backward()
    tensors = [x, *(p for conv in convs for p in conv.parameters())]
    assert [t.grad is not None for t in tensors] == [t.requires_grad for t in tensors]
    assert len(calls) == {"input": 2, "weights": 0, "first": 1, "second": 1, "biases": 2}[frozen]


@by_kernels
def test_gradients_of_gradients_are_refused():
    x = torch.randn(1, 16, 4, 4, requires_grad=True)
    conv = nn.Conv2d(16, 16, 3, padding=1)
    result = TrainedConv(conv.weight, conv.bias)(x)
    (first,) = torch.autograd.grad(result.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


# Networks

NETS = {
    "published": dict(mid_channels=32, num_blocks=2),
    "too narrow to shuffle": dict(mid_channels=16, num_blocks=1),
    "coupled": dict(mid_channels=16, num_blocks=1, propagation="coupled"),
    "image alignment": dict(mid_channels=16, num_blocks=1, alignment="image"),
    "no blocks": dict(mid_channels=16, num_blocks=0),
    "scale 3": dict(mid_channels=16, num_blocks=1, scale=3),
    "checkpointing": dict(mid_channels=32, num_blocks=1, with_cp=True),
    "cleaning": dict(mid_channels=16, num_blocks=1, cleaning=dict(type="image", mid_channels=16, num_blocks=2)),
}


@pytest.fixture
def trained_at_any_size(monkeypatch):
    monkeypatch.setattr(self_test, "_WORTH_TRAINING", 0)


def train(net, run, steps):
    """Losses of some steps on noise, and the gradients of the first."""
    generator = torch.Generator().manual_seed(1)
    lrs = torch.rand(2, 2, 3, 12, 10, generator=generator)
    gts = torch.rand(2, 2, 3, 12 * net.scale, 10 * net.scale, generator=generator)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-4)
    losses, first = [], {}
    for _ in range(steps):
        optimizer.zero_grad()
        loss = ((run(net)(lrs) - gts).square() + 1e-6).sqrt().mean()
        loss.backward()
        first = first or {name: p.grad.clone() for name, p in net.named_parameters()}
        optimizer.step()
        losses.append(loss.item())
    return losses, first


@by_kernels
@pytest.mark.parametrize("name", NETS)
def test_losses_of_ten_steps(name, trained_at_any_size):
    net = BasicVSRNet(**NETS[name], spynet_width=4)
    keys = list(net.state_dict())
    expected, plain = train(copy.deepcopy(net), lambda net: net, 10)
    losses, first = train(net, accelerate_training, 10)
    assert losses == pytest.approx(expected, rel=1e-4)
    assert losses[-1] < losses[0]
    assert list(net.state_dict()) == keys
    # A single activation whose sign rounding decides is seen in a gradient, so this only tells right from wrong.
    for key, gradient in plain.items():
        assert (first[key] - gradient).norm() <= 5e-2 * gradient.norm(), key


@by_kernels
def test_iconvsr_with_a_frozen_branch(trained_at_any_size):
    net = IconVSRNet(mid_channels=16, num_blocks=1, spynet_width=4, keyframe_stride=1)
    net.backward_resblocks.requires_grad_(False)
    lrs = torch.rand(1, 3, 3, 16, 16)
    accelerated = accelerate_training(net)(lrs)
    torch.testing.assert_close(accelerated, net(lrs), atol=1e-5, rtol=1e-5)
    accelerated.mean().backward()
    assert all((p.grad is None) == name.startswith("backward_resblocks") for name, p in net.named_parameters())


@by_kernels
@pytest.mark.parametrize("with_cp", [False, True])
def test_the_same_training_gives_the_same_bits(with_cp, trained_at_any_size):
    net = BasicVSRNet(mid_channels=32, num_blocks=1, spynet_width=4, with_cp=with_cp)
    again = copy.deepcopy(net)
    assert train(net, accelerate_training, 3)[0] == train(again, accelerate_training, 3)[0]
    assert all(map(torch.equal, net.state_dict().values(), again.state_dict().values()))


@by_kernels
def test_kernels_compute_branches_and_upsampling(trained_at_any_size, monkeypatch):
    net = BasicVSRNet(mid_channels=32, num_blocks=2, spynet_width=4)
    counted = []
    monkeypatch.setattr(gradients.WinogradConv, "__call__", counting(counted, WinogradConv.__call__))
    accelerate_training(net)(torch.rand(1, 2, 3, 8, 8))
    # Of each of two frames: two branches of an input convolution and two blocks, and three convolutions of upsampling.
    assert len(counted) == 2 * (2 * (1 + 2 * 2) + 3)
    counted.clear()
    cleaning = dict(type="image", mid_channels=16, num_blocks=3)
    accelerate_training(BasicVSRNet(mid_channels=4, num_blocks=1, spynet_width=4, cleaning=cleaning))(
        torch.rand(1, 2, 3, 8, 8)
    )
    assert len(counted) == 2 * 3  # of all frames at once


def counting(calls, function):
    @functools.wraps(function)
    def counted(*args, **kwargs):
        calls.append(1)
        return function(*args, **kwargs)

    return counted


@by_kernels
def test_plain_paths(trained_at_any_size):
    net = BasicVSRNet(mid_channels=16, num_blocks=1, spynet_width=4)
    assert isinstance(accelerate_training(net), BasicVSRNet)
    assert accelerate_training(nn.Conv2d(3, 3, 1)).__class__ is nn.Conv2d
    with torch.autocast("cpu", torch.bfloat16):
        assert accelerate_training(net) is net
        assert training_path(net) == "PyTorch's operators (kernels of our own train in float32)"
    assert accelerate_training(net.double()) is net


def test_without_kernels(monkeypatch, forgotten, trained_at_any_size):
    monkeypatch.setenv(jit.SWITCH, "off")
    net = BasicVSRNet(mid_channels=16, num_blocks=1, spynet_width=4)
    assert accelerate_training(net) is net
    assert training_path(net) == f"PyTorch's operators ({jit.SWITCH}=off is set)"


@by_kernels
def test_wrong_gradients_are_an_obstacle(monkeypatch, forgotten, trained_at_any_size):
    monkeypatch.setattr(self_test, "weight_gradient", lambda x, gradient, taps: (torch.zeros(()), torch.zeros(())))
    net = BasicVSRNet(mid_channels=16, num_blocks=1, spynet_width=4)
    lrs = torch.rand(1, 2, 3, 8, 8)
    assert torch.equal(accelerate_training(net)(lrs), net(lrs))
    assert training_path(net) == ("PyTorch's operators (gradient of weights: other numbers than PyTorch's)")
    assert kernels.obstacle() is None


@by_kernels
def test_small_layers_are_left_to_pytorch(forgotten):
    net = BasicVSRNet(mid_channels=16, num_blocks=1, spynet_width=4)
    lrs = torch.rand(1, 2, 3, 8, 8)
    assert torch.equal(accelerate_training(net)(lrs), net(lrs))
    assert training_path(net) == "PyTorch's operators (layers or images are too small for kernels of our own)"
