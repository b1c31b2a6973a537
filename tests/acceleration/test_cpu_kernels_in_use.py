"""Whether our CPU kernels are used, and networks with them against networks without."""

import copy
import functools
import sys

import pytest
import torch
import torch.nn as nn

from vsr_plugin.acceleration import accelerate, missing_kernels
from vsr_plugin.acceleration.cpu import kernels
from vsr_plugin.acceleration.cpu.banded_upsampling import BandedUpsampling
from vsr_plugin.acceleration.cpu.block_conv import BlockConv
from vsr_plugin.acceleration.cpu.gather_deform_conv import GatherDCNPack
from vsr_plugin.acceleration.cpu.kernels import DeformConv, FewChannelsConv, WinogradConv, jit, parallel, self_test
from vsr_plugin.acceleration.fused_conv import FusedConv
from vsr_plugin.acceleration.precision import feature_dtype
from vsr_plugin.errors import VSRError
from vsr_plugin.inference.planning import Plan
from vsr_plugin.inference.sequence import restore_sequence
from vsr_plugin.inference.tiling import MIN_TILE
from vsr_plugin.models import BasicVSRNet, IconVSRNet
from vsr_plugin.models.upsampling import PixelShuffleUpsampling
from vsr_plugin.ops.deform_conv import ModulatedDCNPack

works = pytest.mark.skipif(jit.host()[0] is None, reason=f"no CPU kernels: {jit.host()[1]}")


@pytest.fixture(autouse=True)
def no_gradients():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def largest_error(ours, expected):
    assert ours.shape == expected.shape
    return (ours - expected).abs().max().item()


# Strategies


@works
@pytest.mark.parametrize("net_class", [BasicVSRNet, IconVSRNet])
def test_strategies_give_the_same_though_sizes_decide_what_convolves(net_class, tmp_path, monkeypatch):
    net = net_class(num_blocks=2).eval()
    for name, parameter in net.named_parameters():
        if "conv_offset" in name:
            parameter.normal_(std=0.02)
    clip = list(torch.rand(7, 3, 36, 52))
    fast = accelerate(net)
    convolved, convolve = [], WinogradConv.__call__
    monkeypatch.setattr(WinogradConv, "__call__", lambda *args, **kw: convolved.append(1) or convolve(*args, **kw))
    whole = torch.stack([hr for _, hr in restore_sequence(fast, clip, Plan("whole", 7), folder=tmp_path)])
    in_whole = len(convolved)
    assert in_whole > 100
    assert 1e-7 < largest_error(whole, net(torch.stack(clip)[None])[0]) < 5e-5
    for plan in (Plan("exact", 2), Plan("exact", 3, tile=MIN_TILE)):
        restored = torch.stack([hr for _, hr in restore_sequence(fast, clip, plan, folder=tmp_path)])
        assert largest_error(restored, whole) < 1e-5, plan
    assert len(convolved) != 3 * in_whole  # flow of fewer frames at a time is too small for them


# Whether they are used


def test_without_llvmlite(monkeypatch, forgotten):
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    assert kernels.obstacle() == "llvmlite is not installed; pip install llvmlite"
    net = BasicVSRNet(mid_channels=8, num_blocks=1)
    assert missing_kernels(net, "fp32") == (
        "kernels that make this faster are not used: llvmlite is not installed; pip install llvmlite"
    )
    weight = torch.randn(64, 64, 3, 3)
    assert not WinogradConv.suits(weight, (1, 1), (1, 1))
    assert not FewChannelsConv.suits(weight[:3], (1, 1))
    assert not DeformConv.suits(weight, 8)
    conv = nn.Conv2d(64, 64, 3, padding=1)
    x = torch.randn(1, 64, 50, 50)
    torch.testing.assert_close(FusedConv.of(conv, torch.float32)(x), conv(x), atol=1e-5, rtol=1e-5)


def test_old_llvmlite(monkeypatch, forgotten):
    llvm = pytest.importorskip("llvmlite.binding")
    monkeypatch.delattr(llvm, "create_pass_builder")
    assert kernels.obstacle() == "llvmlite is too old; pip install 'llvmlite>=0.45'"


def test_old_processor(monkeypatch, forgotten):
    llvm = pytest.importorskip("llvmlite.binding")
    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: {"sse4.2": True, "avx2": False})
    assert kernels.obstacle() == "the processor has neither AVX2 with FMA, AVX-512 nor NEON"
    assert missing_kernels(BasicVSRNet(mid_channels=8, num_blocks=1), "fp32") is None


def test_broken_llvmlite(monkeypatch, forgotten):
    llvm = pytest.importorskip("llvmlite.binding")

    def fail():
        raise OSError("libllvmlite.so: version `GLIBC_2.28' not found")

    monkeypatch.setattr(llvm, "initialize_native_target", fail)
    reason = "llvmlite does not work: libllvmlite.so: version `GLIBC_2.28' not found"
    assert kernels.obstacle() == reason
    assert missing_kernels(BasicVSRNet(mid_channels=8, num_blocks=1), "fp32").endswith(reason)


def test_switched_off(monkeypatch, forgotten):
    monkeypatch.setenv("VSR_CPU_KERNELS", "off")
    assert kernels.obstacle() == "VSR_CPU_KERNELS=off is set"
    assert missing_kernels(BasicVSRNet(mid_channels=8, num_blocks=1), "fp32") is None


@works
def test_other_numbers_are_an_obstacle(monkeypatch, forgotten):
    for wrong in (1.0, float("nan")):
        self_test.obstacle.cache_clear()
        found = torch.full((2,), wrong), torch.zeros(2)
        monkeypatch.setattr(self_test, "comparisons", lambda found=found: {"3x3, residual": found})
        reason = "3x3, residual: other numbers than PyTorch's"
        assert kernels.obstacle() == reason
        assert missing_kernels(BasicVSRNet(mid_channels=8, num_blocks=1), "fp32").endswith(reason)
        assert not kernels.kernels_pay(torch.empty(1, 64, 500, 500), torch.empty(64, 64, 3, 3))


@works
def test_a_fault_of_the_compiler_is_an_obstacle(monkeypatch, forgotten):
    def fail(*args):
        raise RuntimeError("LLVM IR parsing error\n<string>:1:1: error")

    monkeypatch.setattr(jit, "compiled", fail)
    assert kernels.obstacle() == "LLVM IR parsing error"


@works
def test_size_alone_decides():
    weight = torch.empty(64, 64, 3, 3)
    assert kernels.kernels_pay(torch.empty(1, 64, 31, 31), weight)
    assert not kernels.kernels_pay(torch.empty(1, 64, 30, 30), weight)


# In networks


@works
def test_layers_use_them(whatever_the_size, monkeypatch):
    used = []
    original = parallel.run
    monkeypatch.setattr(parallel, "run", lambda *args: (used.append(type(args[1]).__name__), original(*args)))
    x = torch.randn(1, 64, 12, 9)
    conv, last = nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 3, 3, padding=1)
    torch.testing.assert_close(FusedConv.of(conv, torch.float32, 0)(x), conv(x).relu(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(BlockConv(last, torch.float32, (2, 2))(x), last(x), atol=1e-5, rtol=1e-5)
    deform = ModulatedDCNPack(64, 8)
    deform.conv_offset.weight.normal_(std=0.05)
    torch.testing.assert_close(GatherDCNPack(deform, torch.float32)(x, x), deform(x, x), atol=1e-4, rtol=1e-4)
    # Displacements and factors of the deformable one are convolutions, too.
    assert used == ["WinogradArgs", "FewChannelsArgs", "WinogradArgs", "WinogradArgs", "DeformArgs"]


@works
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1])
def test_what_they_cannot_do_is_left_to_onednn(whatever_the_size, stride, padding):
    conv = nn.Conv2d(16, 16, 3, padding=padding, stride=stride)
    fused, x = FusedConv.of(conv, torch.float32), torch.randn(1, 16, 12, 9)
    assert (fused.by_winograd(x) is not None) == (stride == padding == 1)
    torch.testing.assert_close(fused(x), conv(x), atol=1e-5, rtol=1e-5)


class _Upsampling(PixelShuffleUpsampling, nn.Module):
    feature_stride = 1

    def __init__(self, mid_channels, scale):
        super().__init__()
        self.build_upsampling(mid_channels, scale)


@works
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("mid_channels", [64, 24])
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_upsampling_in_bands(whatever_the_size, monkeypatch, mid_channels, scale, rows):
    plain = _Upsampling(mid_channels, scale)
    for name in plain.shuffle_names():
        getattr(plain, name).upsample_conv.weight.mul_(10)  # the initialisation's 0.1 taken back
    feat, lr = torch.randn(2, mid_channels, 7, 6), torch.rand(2, 3, 7, 6)
    banded = BandedUpsampling(plain, torch.float32)
    monkeypatch.setattr(banded, "band_rows", lambda width: rows)
    expected = plain.upsample(feat, lr)
    assert largest_error(banded(feat, lr), expected) <= 5e-6 * expected.abs().max()


@functools.cache
def _network(kind):
    """A network, frames, and what it makes of them."""
    net = kind(num_blocks=2, **({"keyframe_stride": 2, "padding": 1} if kind is IconVSRNet else {})).eval()
    lrs = torch.rand(1, 3, 3, 65, 70)
    return net, lrs, net(lrs)


@pytest.mark.parametrize("kind", [BasicVSRNet, IconVSRNet])
def test_networks(cpu_path, kind):
    net, lrs, expected = _network(kind)
    fast = accelerate(net)
    assert largest_error(fast(lrs), expected) < 1e-5
    assert torch.equal(copy.deepcopy(fast)(lrs[:, :1]), fast(lrs[:, :1]))


@pytest.mark.parametrize("kind", [BasicVSRNet, IconVSRNet])
def test_networks_in_int16(forgotten, integers, kind, monkeypatch):
    net, lrs, expected = _network(kind)
    multiplied, run = [], parallel.run
    monkeypatch.setattr(
        parallel,
        "run",
        lambda task, call, threads: (multiplied.append(getattr(call, "units", 0)), run(task, call, threads)),
    )
    fast = accelerate(net, precision="int16")
    multiplied.clear()  # for the test of the kernels
    error = fast(lrs) - expected
    # Of three frames two branches of two blocks, and three convolutions of the upsampling.
    assert sum(map(bool, multiplied)) >= 3 * (2 * 4 + 3)
    assert 1e-6 < error.abs().max() < 5e-4
    assert torch.equal(copy.deepcopy(fast)(lrs[:, :1]), fast(lrs[:, :1]))


def test_int16_where_nothing_multiplies_it(monkeypatch, forgotten):
    monkeypatch.setattr(jit, "host", lambda: (jit.Host(4, 32), None))
    monkeypatch.setattr(self_test, "comparisons", lambda: {})
    with pytest.raises(
        VSRError, match="'int16': there are kernels that multiply whole numbers for AVX2 and AVX-512 only"
    ):
        accelerate(BasicVSRNet(mid_channels=8, num_blocks=1), precision="int16")
    with pytest.raises(VSRError, match="precision 'int16' is for CPUs; use fp16 or fp32"):
        feature_dtype("int16", torch.device("cuda"))


@works
@pytest.mark.parametrize(
    ("integers", "matrix_unit", "advised"), [(jit.VNNI, False, True), (jit.VNNI, True, False), (0, False, False)]
)
def test_what_is_faster_than_bf16_is_said(monkeypatch, forgotten, integers, matrix_unit, advised):
    llvm = pytest.importorskip("llvmlite.binding")
    monkeypatch.setattr(jit, "host", lambda: (jit.Host(16, 32, integers), None))
    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: {"amx-bf16": matrix_unit})
    net = BasicVSRNet(mid_channels=8, num_blocks=1)
    line = "on this processor int16 is faster than bf16 and closer to fp32; auto finds out which is fastest"
    assert missing_kernels(net, "bf16") == (line if advised else None)
    assert missing_kernels(net, "int16") is None


def test_int16_without_llvmlite(monkeypatch, forgotten):
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    with pytest.raises(VSRError, match="'int16': llvmlite is not installed; pip install llvmlite; use fp32"):
        accelerate(BasicVSRNet(mid_channels=8, num_blocks=1), precision="int16")


def test_wrong_integers_are_an_obstacle(forgotten, integers, monkeypatch):
    assert kernels.integer_obstacle() is None
    self_test.integer_obstacle.cache_clear()
    monkeypatch.setattr(self_test, "integer_comparisons", lambda: {"3x3": (torch.ones(2), torch.zeros(2))})
    assert kernels.integer_obstacle() == "3x3: other numbers than PyTorch's"
    assert kernels.obstacle() is None


@pytest.mark.parametrize("cpu_path", ["oneDNN, packed", "oneDNN, not packed", "plain"], indirect=True)
@pytest.mark.parametrize("kind", [BasicVSRNet, IconVSRNet])
def test_networks_in_bf16(cpu_path, bf16, kind):
    net, lrs, _ = _network(kind)
    lrs = lrs[:, :2, :, :20, :24]
    fast = accelerate(net, precision=bf16)
    error = fast(lrs) - net(lrs)
    assert 0 < error.abs().max() < 5e-3
    assert torch.equal(copy.deepcopy(fast)(lrs), fast(lrs))
