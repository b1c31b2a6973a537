"""Deformable convolution: each backend against ours, ours against loops written here."""

from __future__ import annotations

import itertools
import math
import sys
import types

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.ops import deform_conv
from vsr_plugin.ops.deform_conv import ModulatedDCNPack, describe_backends, modulated_deform_conv2d

CPU = torch.device("cpu")
OTHERS = [name for name in deform_conv._BACKENDS if name != "torch"]

#: stride, padding, dilation, groups, deform_groups, kernel
VARIANTS = {
    "plain": (1, 1, 1, 1, 1, (3, 3)),
    "deform_groups": (1, 1, 1, 1, 4, (3, 3)),
    "groups": (1, 1, 1, 2, 1, (3, 3)),
    "both_groups": (1, 1, 1, 2, 4, (3, 3)),
    "stride": (2, 1, 1, 1, 2, (3, 3)),
    "dilation": (1, 2, 2, 1, 2, (3, 3)),
    "no_padding": (1, 0, 1, 1, 2, (3, 3)),
    "all_unequal": ((2, 1), (0, 2), (1, 2), 2, 2, (1, 3)),
}


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def out_size(h: int, w: int, variant: tuple) -> tuple[int, int]:
    stride, padding, dilation, _, _, kernel = variant
    return tuple(
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, p, d, k, s in zip((h, w), pair(padding), pair(dilation), kernel, pair(stride), strict=True)
    )


def make_input(
    variant: tuple, h: int = 7, w: int = 6, n: int = 2, dtype: torch.dtype = torch.float32, spread: float = 2.0
) -> tuple[Tensor, ...]:
    """x, offset, mask, weight, bias; offsets of ``spread`` pixels, so that many taps leave the image."""
    *_, groups, deform_groups, (kh, kw) = variant
    generator = torch.Generator().manual_seed(h * 100 + w)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    size = out_size(h, w, variant)
    taps = deform_groups * kh * kw
    return (
        draw(n, 8, h, w),
        spread * draw(n, 2 * taps, *size),
        draw(n, taps, *size).sigmoid(),
        draw(4, 8 // groups, kh, kw) / math.sqrt(8 * kh * kw),
        draw(4),
    )


def loops(inputs: tuple[Tensor, ...], variant: tuple) -> Tensor:
    """The definition, one tap at a time, in float64."""
    x, offset, mask, weight, bias = (tensor.double() for tensor in inputs)
    stride, padding, dilation, groups, deform_groups, (kh, kw) = variant
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    n, c, h, w = x.shape
    c_out = weight.size(0)
    h_out, w_out = out_size(h, w, variant)
    out = bias.view(1, -1, 1, 1).repeat(n, 1, h_out, w_out)
    for b, i, j, tap in itertools.product(range(n), range(h_out), range(w_out), range(kh * kw)):
        for group in range(deform_groups):
            k = group * kh * kw + tap
            y = i * sh - ph + tap // kw * dh + offset[b, 2 * k, i, j].item()
            z = j * sw - pw + tap % kw * dw + offset[b, 2 * k + 1, i, j].item()
            channels = range(group * c // deform_groups, (group + 1) * c // deform_groups)
            value = torch.zeros(len(channels), dtype=torch.float64)
            for yy, zz in itertools.product((math.floor(y), math.floor(y) + 1), (math.floor(z), math.floor(z) + 1)):
                if 0 <= yy < h and 0 <= zz < w:
                    value += (1 - abs(y - yy)) * (1 - abs(z - zz)) * x[b, channels.start : channels.stop, yy, zz]
            value *= mask[b, k, i, j]
            for channel, v in zip(channels, value, strict=True):
                part, within = divmod(channel, c // groups)
                outs = slice(part * c_out // groups, (part + 1) * c_out // groups)
                out[b, outs, i, j] += weight[outs, within, tap // kw, tap % kw] * v
    return out


def run(inputs: tuple[Tensor, ...], variant: tuple, backend: str | None = None) -> Tensor:
    return modulated_deform_conv2d(*inputs, *variant[:5], backend=backend)


def skip_unless_available(name: str) -> None:
    op, reason = deform_conv._probe(name, "cpu")
    if op is None:
        pytest.skip(f"{name}: {reason}")


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_ours_equals_the_definition(variant: tuple) -> None:
    inputs = make_input(variant, 5, 4, n=2, dtype=torch.float64)
    torch.testing.assert_close(run(inputs, variant, "torch"), loops(inputs, variant), rtol=0, atol=1e-12)
    single = tuple(tensor.float() for tensor in inputs)
    torch.testing.assert_close(run(single, variant, "torch").double(), loops(single, variant), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("h", "w"), [(1, 1), (1, 6), (5, 1)])
@pytest.mark.parametrize("spread", [0.4, 30.0])
def test_ours_equals_the_definition_in_tiny_images(h: int, w: int, spread: float) -> None:
    variant = VARIANTS["deform_groups"]
    inputs = make_input(variant, h, w, dtype=torch.float64, spread=spread)
    torch.testing.assert_close(run(inputs, variant, "torch"), loops(inputs, variant), rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_backends_agree(backend: str, variant: tuple) -> None:
    skip_unless_available(backend)
    for h, w, spread in ((13, 17, 2.0), (1, 5, 1.0), (4, 4, 40.0)):
        if min(out_size(h, w, variant)) < 1:
            continue
        inputs = make_input(variant, h, w, spread=spread)
        expected, found = run(inputs, variant, "torch"), run(inputs, variant, backend)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("backend", OTHERS)
def test_gradients_of_backends_agree(backend: str) -> None:
    skip_unless_available(backend)
    variant = VARIANTS["deform_groups"]
    gradients = {}
    for name in ("torch", backend):
        inputs = tuple(tensor.requires_grad_() for tensor in make_input(variant, 9, 11))
        run(inputs, variant, name).square().sum().backward()
        gradients[name] = [tensor.grad for tensor in inputs]
    for expected, found in zip(gradients["torch"], gradients[backend], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", deform_conv._BACKENDS)
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 1, 1), (2, 0, 1), (1, 2, 2)])
def test_without_displacement_it_is_a_convolution(backend: str, stride: int, padding: int, dilation: int) -> None:
    skip_unless_available(backend)
    variant = (stride, padding, dilation, 1, 2, (3, 3))
    x, offset, mask, weight, bias = make_input(variant, 12, 10)
    found = run((x, torch.zeros_like(offset), torch.ones_like(mask), weight, bias), variant, backend)
    torch.testing.assert_close(found, F.conv2d(x, weight, bias, stride, padding, dilation), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["both_groups", "all_unequal"])
def test_gradcheck(name: str) -> None:
    variant = VARIANTS[name]
    x, offset, mask, weight, bias = make_input(variant, 4, 4, n=1, dtype=torch.float64)
    # Away from whole pixels, where bilinear interpolation has no derivative.
    offset = offset.floor() + 0.1 + 0.8 * torch.rand_like(offset)
    inputs = tuple(tensor.requires_grad_() for tensor in (x, offset, mask, weight, bias))
    assert torch.autograd.gradcheck(lambda *tensors: run(tensors, variant), inputs)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("limit", [1, 2000])
def test_bands_change_nothing(variant: tuple, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = make_input(variant, 11, 9, dtype=torch.float64)
    whole = run(inputs, variant, "torch")
    calls = []
    sample = deform_conv.sample_columns
    monkeypatch.setattr(deform_conv, "sample_columns", lambda *args: calls.append(args[3]) or sample(*args))
    monkeypatch.setattr(deform_conv, "_MAX_COLUMNS", limit)
    torch.testing.assert_close(run(inputs, variant, "torch"), whole, rtol=0, atol=1e-13)
    if limit == 1:
        assert calls == list(range(whole.size(2)))


def test_whole_numbers_for_both_axes_mean_pairs() -> None:
    variant = VARIANTS["stride"]
    inputs = make_input(variant)
    paired = ((2, 2), (1, 1), (1, 1), *variant[3:])
    assert torch.equal(run(inputs, variant), run(inputs, paired))


def test_bias_is_optional() -> None:
    variant = VARIANTS["plain"]
    x, offset, mask, weight, bias = make_input(variant)
    without = modulated_deform_conv2d(x, offset, mask, weight, padding=1)
    assert torch.equal(run((x, offset, mask, weight, torch.zeros_like(bias)), variant), without)


@pytest.mark.parametrize("backend", [*deform_conv._BACKENDS, None])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_rounded_only_at_the_end(backend: str | None, dtype: torch.dtype, autocast: bool) -> None:
    if backend is not None:
        skip_unless_available(backend)
    variant = VARIANTS["deform_groups"]
    inputs = tuple(tensor.to(dtype) for tensor in make_input(variant, 9, 8))
    expected = run(tuple(tensor.float() for tensor in inputs), variant, backend).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        found = run(inputs, variant, backend)
    assert found.dtype == dtype
    assert torch.equal(found, expected)


def test_float64_is_exact_beside_the_border() -> None:
    # mmcv 2.1 floors in float32 and takes -1e-9 for -1, or loses the sample; so it is not used in float64.
    variant = (1, 0, 1, 1, 1, (1, 1))
    x = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    offset = torch.full((1, 2, 4, 4), -1e-9, dtype=torch.float64)
    ones = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    out = run((x, offset, ones, ones[..., :1, :1], None), variant)
    assert (out - 1).abs().max() < 3e-9


@pytest.fixture
def insist(monkeypatch: pytest.MonkeyPatch):
    """Return a function that sets ``VSR_DEFORM_CONV``."""
    deform_conv._probe.cache_clear()
    yield lambda name: monkeypatch.setenv("VSR_DEFORM_CONV", name)
    deform_conv._probe.cache_clear()


def test_unknown_backend_is_refused(insist) -> None:
    insist("cudnn")
    with pytest.raises(
        ValueError, match="VSR_DEFORM_CONV='cudnn' is not a backend; choose one of mmcv, torchvision, torch"
    ):
        run(make_input(VARIANTS["plain"]), VARIANTS["plain"])


def test_backend_that_does_not_work_is_refused(insist, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken():
        raise ImportError("libcudart.so.12: cannot open shared object file\nand more")

    monkeypatch.setitem(deform_conv._BACKENDS, "torchvision", broken)
    insist("torchvision")
    with pytest.raises(
        RuntimeError, match=r"VSR_DEFORM_CONV='torchvision' does not work on cpu: libcudart.so.12.*file$"
    ):
        run(make_input(VARIANTS["plain"]), VARIANTS["plain"])
    with pytest.raises(RuntimeError, match="backend 'torchvision' does not work on cpu: libcudart"):
        run(make_input(VARIANTS["plain"]), VARIANTS["plain"], "torchvision")


def test_the_backend_asked_for_runs(insist, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def spy(name: str):
        def op(*args):
            calls.append(name)
            return deform_conv._deform_conv_torch(*args)

        return lambda: op

    for name in deform_conv._BACKENDS:
        monkeypatch.setitem(deform_conv._BACKENDS, name, spy(name))
    inputs = make_input(VARIANTS["plain"])
    for name in deform_conv._BACKENDS:
        insist(name)
        run(inputs, VARIANTS["plain"])
        assert calls[-1] == name
    monkeypatch.delenv("VSR_DEFORM_CONV")
    run(inputs, VARIANTS["plain"])
    assert calls[-1] == "mmcv"


def test_the_next_best_runs_where_the_best_does_not(insist, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent():
        raise ImportError("No module named 'x'")

    insist("")
    monkeypatch.setitem(deform_conv._BACKENDS, "mmcv", absent)
    monkeypatch.setitem(deform_conv._BACKENDS, "torchvision", absent)
    assert describe_backends(CPU) == [
        ("mmcv", "not available (No module named 'x')"),
        ("torchvision", "not available (No module named 'x')"),
        ("torch", "active"),
    ]
    assert run(make_input(VARIANTS["plain"]), VARIANTS["plain"]).isfinite().all()


def test_described_backends_are_those_of_this_machine() -> None:
    described = dict(describe_backends(CPU))
    assert list(described) == ["mmcv", "torchvision", "torch"]
    assert list(described.values()).count("active") == 1
    for name, state in described.items():
        assert state.startswith("not available (") == (deform_conv._probe(name, "cpu")[0] is None)


def test_pack_starts_without_displacement_and_with_half_the_weight() -> None:
    torch.manual_seed(0)
    pack = ModulatedDCNPack(8, 4)
    x, offset_feat = torch.rand(2, 1, 8, 6, 7).unbind()
    expected = F.conv2d(x, pack.weight / 2, pack.bias, padding=1)
    torch.testing.assert_close(pack(x, offset_feat), expected, rtol=0, atol=1e-6)
    assert pack.weight.abs().max() <= 1 / math.sqrt(8 * 9)


def test_torchvision_is_not_used_off_the_default_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fake(x, offset, weight, bias, stride, padding, dilation, mask):
        calls.append(x)
        return x

    ops = types.ModuleType("torchvision.ops")
    ops.deform_conv2d = fake
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.ops", ops)
    backend = deform_conv._torchvision_backend()
    inputs = make_input(VARIANTS["plain"])
    arguments = ((1, 1), (1, 1), (1, 1), 1, 1)
    assert backend(*inputs, *arguments) is inputs[0]
    monkeypatch.setattr(deform_conv, "off_default_stream", lambda device: True)
    assert torch.equal(backend(*inputs, *arguments), run(inputs, VARIANTS["plain"], "torch"))
    assert len(calls) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_ours_is_the_same_on_cuda(variant: tuple) -> None:
    inputs = make_input(variant, 13, 17, dtype=torch.float64)
    on_cuda = run(tuple(tensor.cuda() for tensor in inputs), variant, "torch").cpu()
    torch.testing.assert_close(on_cuda, run(inputs, variant, "torch"), rtol=0, atol=1e-10)
