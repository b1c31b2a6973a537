"""Our CPU kernels against PyTorch's operators."""

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from vsr_plugin.acceleration.cpu import kernels
from vsr_plugin.acceleration.cpu.kernels import DeformConv, FewChannelsConv, WinogradConv, jit, parallel, self_test
from vsr_plugin.acceleration.cpu.kernels.winograd import ALGORITHMS
from vsr_plugin.ops.deform_conv import modulated_deform_conv2d

every_width = pytest.mark.usefixtures("lanes")


@pytest.fixture(autouse=True)
def no_gradients():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def features(*shape):
    return torch.randn(*shape).contiguous(memory_format=torch.channels_last)


def largest_error(ours, expected):
    assert ours.shape == expected.shape
    return (ours - expected).abs().max().item()


# The method


@pytest.mark.parametrize("taps", ALGORITHMS)
def test_fewer_products_give_the_same_filter(taps):
    algorithm = ALGORITHMS[taps]
    rng = np.random.default_rng(0)
    patch, filters = rng.standard_normal((algorithm.patch,) * 2), rng.standard_normal((taps, taps))
    data = algorithm.input_matrix @ patch @ algorithm.input_matrix.T
    transformed = (algorithm.filter_transform @ filters.flatten()).reshape(data.shape)
    tile = algorithm.output_matrix @ (data * transformed) @ algorithm.output_matrix.T
    direct = [
        [(patch[y : y + taps, x : x + taps] * filters).sum() for x in range(algorithm.tile)]
        for y in range(algorithm.tile)
    ]
    np.testing.assert_allclose(tile, direct, atol=1e-12)


@pytest.mark.parametrize(("taps", "share"), [(3, 0.25), (7, 0.327)])
def test_share_of_multiplications(taps, share):
    algorithm = ALGORITHMS[taps]
    assert algorithm.patch**2 / (algorithm.tile * taps) ** 2 == pytest.approx(share, abs=1e-3)


@pytest.mark.skipif(jit.host()[0] is None, reason=f"no CPU kernels: {jit.host()[1]}")
def test_they_work_here():
    assert kernels.obstacle() is None


# Convolutions


@every_width
@pytest.mark.parametrize("taps", ALGORITHMS)
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 4), (5, 1), (13, 22), (31, 65)])
@pytest.mark.parametrize(("c_in", "c_out"), [(16, 16), (64, 64), (24, 40), (12, 44), (8, 216)])
def test_winograd(taps, size, c_in, c_out):
    x = features(2, c_in, *size)
    weight, bias = torch.randn(c_out, c_in, taps, taps) / (taps * c_in**0.5), torch.randn(c_out)
    expected = F.conv2d(x.double(), weight.double(), bias.double(), padding=taps // 2)
    ours = WinogradConv(weight, bias, None)(x)
    assert ours.is_contiguous(memory_format=torch.channels_last) or min(size) == 1
    assert largest_error(ours, expected) < 5e-5


@every_width
@pytest.mark.parametrize(("slope", "activate"), [(0, F.relu), (0.1, lambda x: F.leaky_relu(x, 0.1))])
def test_winograd_activation_after_the_residual(slope, activate):
    x, residual = features(1, 16, 9, 10), features(1, 16, 9, 10)
    conv = nn.Conv2d(16, 16, 3, padding=1)
    ours = WinogradConv(conv.weight, conv.bias, slope)
    before = residual.clone()
    torch.testing.assert_close(ours(x), activate(conv(x)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours(x, residual=residual), activate(conv(x) + residual), atol=1e-5, rtol=1e-5)
    assert torch.equal(residual, before)
    expected = activate(conv(x) + residual)
    into = ours(x, residual=residual, into=residual)
    assert into.data_ptr() == residual.data_ptr()
    torch.testing.assert_close(residual, expected, atol=1e-5, rtol=1e-5)


@every_width
@pytest.mark.parametrize("padding", [(1, 1), (0, 1), (1, 0), (0, 0)])
def test_winograd_rows_of_zeros(padding):
    conv = nn.Conv2d(16, 32, 3, padding=(0, 1))
    x = features(1, 16, 10, 7)
    expected = conv(F.pad(x, (0, 0, *padding)))
    torch.testing.assert_close(WinogradConv(conv.weight, conv.bias, None)(x, padding), expected, atol=1e-5, rtol=1e-5)


@every_width
@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("vectors", [1, 2, 3])
def test_winograd_writes_shuffled(lanes, factor, vectors):
    c = 2 * lanes * vectors
    conv = nn.Conv2d(16, c * factor**2, 3, padding=1)
    x = features(2, 16, 6, 9)
    # From channel, row, column to row, column, channel.
    order = torch.arange(c * factor**2).view(c, factor**2).t().flatten()
    ours = WinogradConv(conv.weight[order], conv.bias[order], 0.1)
    assert ours.shuffles(factor)
    expected = F.leaky_relu(F.pixel_shuffle(conv(x), factor), 0.1)
    torch.testing.assert_close(ours(x, shuffle=factor), expected, atol=1e-5, rtol=1e-5)


@every_width
@pytest.mark.parametrize("factor", [2, 3])
def test_winograd_does_not_shuffle_parts_of_vectors(lanes, factor):
    c_out = lanes * factor**2
    assert not WinogradConv(torch.randn(c_out, 16, 3, 3), torch.zeros(c_out), None).shuffles(factor)


@every_width
def test_winograd_reads_slices():
    conv = nn.Conv2d(16, 16, 3, padding=1)
    ours = WinogradConv(conv.weight, conv.bias, None)
    wide, planes = features(2, 40, 9, 10), torch.randn(2, 16, 9, 10)
    for x in (wide[:, 8:24], wide[:, :16, 2:7], planes):
        torch.testing.assert_close(ours(x), conv(x), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours(x, residual=x), conv(x) + x, atol=1e-5, rtol=1e-5)


@every_width
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("slope", [None, 0, 0.1])
def test_winograd_shows_what_is_not_finite(value, slope):
    x = features(1, 16, 9, 10)
    x[0, 3, 4, 5] = value
    assert not WinogradConv(torch.randn(16, 16, 3, 3), torch.zeros(16), slope)(x).isfinite().all()


@every_width
def test_nothing_to_convolve():
    ours = WinogradConv(torch.randn(16, 16, 3, 3), torch.zeros(16), None)
    assert ours(torch.empty(0, 16, 4, 4)).shape == (0, 16, 4, 4)
    assert FewChannelsConv(torch.randn(3, 16, 3, 3), torch.zeros(3))(torch.empty(1, 16, 4, 0)).shape == (1, 3, 4, 0)


@every_width
@pytest.mark.parametrize(("c_in", "c_out", "taps"), [(64, 3, 3), (16, 2, 7), (4, 1, 3), (12, 3, 5)])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (9, 4), (3, 6), (7, 10)])
def test_few_channels(c_in, c_out, taps, size):
    conv = nn.Conv2d(c_in, c_out, taps, padding=taps // 2)
    x = features(2, c_in, *size)
    torch.testing.assert_close(FewChannelsConv(conv.weight, conv.bias)(x), conv(x), atol=1e-5, rtol=1e-5)


@every_width
def test_few_channels_rows_of_zeros():
    conv = nn.Conv2d(8, 3, 3, padding=(0, 1))
    x = features(2, 8, 9, 6)
    for padding in ((0, 1), (1, 0), (0, 0)):
        expected = conv(F.pad(x, (0, 0, *padding)))
        torch.testing.assert_close(FewChannelsConv(conv.weight, conv.bias)(x, padding), expected, atol=1e-5, rtol=1e-5)


@every_width
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (6, 1), (7, 9)])
@pytest.mark.parametrize(("c_in", "c_out", "groups"), [(64, 64, 8), (128, 64, 16), (32, 16, 4), (32, 24, 8)])
@pytest.mark.parametrize("reach", [0.0, 2.0, 1e9])
def test_deform(size, c_in, c_out, groups, reach):
    weight, bias = torch.randn(c_out, c_in, 3, 3) / (3 * c_in**0.5), torch.randn(c_out)
    x, factors = features(2, c_in, *size), torch.rand(2, 9 * groups, *size)
    displacements = reach * torch.randn(2, 18 * groups, *size)
    expected = modulated_deform_conv2d(x, displacements, factors, weight, bias, padding=1, deform_groups=groups)
    ours = DeformConv(weight, bias, groups)(x, displacements, factors)
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-4)


@every_width
def test_deform_samples_nothing_where_a_position_is_no_number():
    bias = torch.randn(16)
    displacements = torch.zeros(1, 72, 4, 4)
    displacements[..., 0, 0], displacements[..., 1, 1], displacements[..., 2, 2] = float("nan"), float("inf"), -1e30
    out = DeformConv(torch.ones(16, 32, 3, 3), bias, 4)(torch.ones(1, 32, 4, 4), displacements, torch.ones(1, 36, 4, 4))
    assert torch.equal(out[0, :, [0, 1, 2], [0, 1, 2]], bias[:, None].expand(16, 3))
    assert out[0, 0, 1, 2] == bias[0] + 9 * 32


@every_width
def test_residual_beside_a_part_of_something_larger():
    conv = nn.Conv2d(16, 16, 3, padding=1)
    x, residual = features(2, 16, 9, 10), torch.randn(2, 16, 9, 10)
    canvas = torch.full((2, 11, 12, 32), 7.0)
    into = canvas.permute(0, 3, 1, 2)[:, 8:24, 1:10, 1:11]
    out = WinogradConv(conv.weight, conv.bias, None)(x, residual=residual, into=into)
    torch.testing.assert_close(out, conv(x) + residual, atol=1e-5, rtol=1e-5)
    into.fill_(7)
    assert (canvas == 7).all()


@every_width
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_other_precisions(dtype):
    x, factors = features(1, 64, 9, 10), torch.ones(1, 72, 9, 10)
    weight, bias = torch.randn(64, 64, 3, 3).to(dtype), torch.randn(64).to(dtype)
    expected = F.conv2d(x, weight.float(), bias.float(), padding=1)
    torch.testing.assert_close(WinogradConv(weight, bias, None)(x), expected, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(FewChannelsConv(weight[:3], bias[:3])(x), expected[:, :3], atol=1e-3, rtol=1e-4)
    still = DeformConv(weight, bias, 8)(x, torch.zeros(1, 144, 9, 10), factors)
    torch.testing.assert_close(still, expected, atol=1e-3, rtol=1e-4)


@every_width
def test_default_precision_does_not_matter():
    conv, x = nn.Conv2d(16, 16, 3, padding=1), features(1, 16, 9, 10)
    expected = conv(x)
    try:
        torch.set_default_dtype(torch.float64)
        found = WinogradConv(conv.weight, conv.bias, None)(x)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@every_width
def test_other_channels_and_precisions_are_refused():
    x, wide = features(1, 16, 4, 5), features(1, 32, 4, 5)
    winograd = WinogradConv(torch.randn(16, 16, 3, 3), torch.zeros(16), None)
    for conv in (winograd, FewChannelsConv(torch.randn(3, 16, 3, 3), torch.zeros(3))):
        with pytest.raises(ValueError, match=r"float32 features \(n, 16, h, w\) on the CPU, got \(1, 32, 4, 5\)"):
            conv(wide)
        with pytest.raises(ValueError, match=r"torch\.float64"):
            conv(x.double())
    with pytest.raises(ValueError, match="into: must be float32 and channels last"):
        winograd(x, into=torch.empty(1, 16, 4, 5))
    deform = DeformConv(torch.randn(16, 32, 3, 3), torch.zeros(16), 4)
    with pytest.raises(ValueError, match=r"features \(n, 36, h, w\)"):
        deform(wide, torch.zeros(1, 72, 4, 5), torch.zeros(1, 35, 4, 5))
    with pytest.raises(ValueError, match="sizes differ"):
        deform(wide, torch.zeros(1, 72, 4, 6), torch.zeros(1, 36, 4, 5))


def test_every_width_of_vectors(lanes):
    assert WinogradConv(torch.randn(64, 64, 3, 3), torch.zeros(64), None).lanes == lanes
    for name, (ours, expected) in self_test.comparisons().items():
        assert largest_error(ours, expected) < 1e-4, name


@every_width
def test_no_kernel_is_said():
    with pytest.raises(RuntimeError, match=r"no kernel for weights \(16, 16, 5, 5\)"):
        WinogradConv(torch.randn(16, 16, 5, 5), torch.zeros(16), None)
    with pytest.raises(RuntimeError, match="no kernel"):
        FewChannelsConv(torch.randn(3, 6, 3, 3), torch.zeros(3))
    with pytest.raises(RuntimeError, match="in 2 deformable groups"):
        DeformConv(torch.randn(16, 16, 3, 3), torch.zeros(16), 2)


# Whole numbers of 16 bits


def root_mean_square(x):
    return x.double().square().mean().sqrt().item()


@pytest.mark.usefixtures("integers")
@pytest.mark.parametrize("size", [(1, 1), (5, 1), (13, 22)])
@pytest.mark.parametrize(("c_in", "c_out"), [(64, 64), (16, 40), (24, 12), (128, 72)])
def test_integers(size, c_in, c_out):
    x, residual = features(2, c_in, *size), features(2, c_out, *size)
    weight, bias = torch.randn(c_out, c_in, 3, 3) / (3 * c_in**0.5), torch.randn(c_out)
    # The second image is darker by far, and has its own units.
    x[1] *= 1e-3
    expected = F.conv2d(x.double(), weight.double(), None, padding=1)
    conv = WinogradConv(weight, bias, None, integers=True)
    shift = residual + bias.view(-1, 1, 1)
    for image in range(2):
        error = conv(x, residual=residual)[image] - shift[image] - expected[image]
        # Units of filters are the coarser, the more channels a sum of 32 bits must hold.
        assert root_mean_square(error) < (5e-4 + 2e-5 * c_in) * root_mean_square(x[image]) + 1e-7


@pytest.mark.usefixtures("integers")
def test_integers_give_what_their_rounding_gives():
    algorithm = ALGORITHMS[3]
    x, weight = features(1, 64, 4, 4), torch.randn(64, 64, 3, 3)
    patch = F.pad(x, (1, 1, 1, 1))[0].double().numpy()
    unit = np.abs(patch).max() * algorithm.input_bounds / 32760
    data = algorithm.input_matrix @ patch @ algorithm.input_matrix.T / unit
    filters = weight.double().flatten(2).numpy() @ algorithm.filter_transform.T
    filters = np.moveaxis(filters, 2, 0).reshape(6, 6, 64, 64) * unit[..., None, None]
    filter_unit = np.abs(filters).sum(axis=3, keepdims=True) / 65000
    sums = np.einsum("cij,ijoc->oij", np.round(data), np.round(filters / filter_unit) * filter_unit)
    expected = algorithm.output_matrix @ sums @ algorithm.output_matrix.T
    ours = WinogradConv(weight, torch.zeros(64), None, integers=True)(x)[0].double().numpy()
    exact = F.conv2d(x.double(), weight.double(), padding=1)[0].numpy()
    # What is left are data so close to the middle of two whole numbers that float32 takes the other one.
    assert np.abs(ours - expected).mean() < 0.1 * np.abs(expected - exact).mean()


@pytest.mark.usefixtures("integers")
@pytest.mark.parametrize("sign", [1, -1])
def test_sums_of_integers_do_not_overflow(sign):
    """Where all products are as large as they can be and have one sign."""
    algorithm = ALGORITHMS[3]
    for row, column in ((0, 0), (3, 4), (5, 5)):
        # The patch that makes an element of the transformed data as large as its bound.
        patch = np.sign(np.outer(algorithm.input_matrix[row], algorithm.input_matrix[column]))
        x = torch.from_numpy(sign * patch[1:5, 1:5]).float().expand(1, 256, 4, 4)
        ours = WinogradConv(torch.ones(64, 256, 3, 3), torch.zeros(64), None, integers=True)(x)
        expected = F.conv2d(x.double(), torch.ones(64, 256, 3, 3, dtype=torch.double), padding=1)
        assert largest_error(ours, expected) < 1e-3 * 9 * 256


@pytest.mark.usefixtures("integers")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("slope", [None, 0, 0.1])
def test_integers_show_what_is_not_finite(value, slope):
    x = features(1, 16, 9, 10)
    x[0, 3, 4, 5] = value
    conv = WinogradConv(torch.randn(16, 16, 3, 3), torch.zeros(16), slope, integers=True)
    assert not conv(x).isfinite().all()


@pytest.mark.usefixtures("integers")
@pytest.mark.parametrize("magnitude", [0, 1e-42, 1e-30, 1e30])
def test_integers_of_any_magnitude(magnitude):
    x, weight, bias = magnitude * features(1, 16, 9, 10), torch.randn(16, 16, 3, 3) / 12, torch.randn(16)
    ours = WinogradConv(weight, bias, None, integers=True)(x)
    expected = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    assert largest_error(ours, expected) <= 5e-3 * max(magnitude, 1e-6)


@pytest.mark.usefixtures("integers")
def test_filters_of_zeros():
    bias = torch.randn(16)
    ours = WinogradConv(torch.zeros(16, 16, 3, 3), bias, None, integers=True)(features(1, 16, 9, 10))
    torch.testing.assert_close(ours, bias.view(1, -1, 1, 1).expand_as(ours))


@pytest.mark.usefixtures("integers")
def test_what_has_no_integers_is_computed_in_float32():
    for c_in, taps in ((12, 3), (16, 7)):
        weight, bias = torch.randn(16, c_in, taps, taps) / taps**2, torch.randn(16)
        x = features(1, c_in, 9, 10)
        either, other = (WinogradConv(weight, bias, None, integers=integers)(x) for integers in (False, True))
        assert torch.equal(either, other)


# Threads


@every_width
def test_threads_do_not_show(monkeypatch):
    conv = WinogradConv(torch.randn(64, 64, 3, 3), torch.randn(64), 0.1)
    few = FewChannelsConv(torch.randn(3, 64, 3, 3), torch.randn(3))
    x = features(2, 64, 45, 70)
    threads = torch.get_num_threads()
    results = []
    try:
        for count, openmp in ((1, True), (3, True), (3, False)):
            torch.set_num_threads(count)
            if not openmp:
                monkeypatch.setattr(parallel, "_openmp", lambda: None)
            results.append((conv(x), few(x)))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
