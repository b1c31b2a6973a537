"""What only a CUDA device can tell: the same pixels as on the CPU, by graphs, fused operators and queued transfers."""

import functools

import numpy as np
import pytest
import torch

from vsr_plugin.acceleration import accelerate
from vsr_plugin.acceleration.cuda import conv_with_epilogue, kernels
from vsr_plugin.acceleration.cuda.flow_by_kernels import by_flow_kernels, flow_kernels_work
from vsr_plugin.acceleration.cuda.graphs import steps_unrecorded
from vsr_plugin.acceleration.cuda.kernels.self_test import comparisons, kernels_work
from vsr_plugin.inference import restore_frames
from vsr_plugin.inference.planning import Plan
from vsr_plugin.inference.sequence import restore_sequence
from vsr_plugin.models import BasicVSRNet, BasicVSRPlusPlusNet, IconVSRNet, SPyNet
from vsr_plugin.ops.frames import Download

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def _net(net_class: type, mid_channels: int = 16, **arguments) -> torch.nn.Module:
    torch.manual_seed(0)
    net = net_class(mid_channels=mid_channels, num_blocks=2, **arguments).eval()
    for name, parameter in net.named_parameters():
        if name.endswith("conv_offset.6.weight"):  # zeros at first: displacements would be the flow alone
            torch.nn.init.normal_(parameter, std=1 / parameter[0].numel() ** 0.5)
    return net


def _lrs(t: int, h: int = 36, w: int = 44) -> torch.Tensor:
    return torch.rand(1, t, 3, h, w, generator=torch.Generator().manual_seed(t))


def _db(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10((a.double() - b.double()).square().mean()))


def _without_tf32():
    """Convolutions in all of float32: TF32 rounds in another way for each algorithm, and so for each batch size."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False)


#: Those of 64 channels are computed by our own kernels in half precision.
NETS = {
    "basicvsr": functools.partial(_net, BasicVSRNet),
    "iconvsr": functools.partial(_net, IconVSRNet, keyframe_stride=3),
    "basicvsr of 64 channels": functools.partial(_net, BasicVSRNet, 64),
    "iconvsr of 64 channels": functools.partial(_net, IconVSRNet, 64, keyframe_stride=3),
    "basicvsr_pp": functools.partial(_net, BasicVSRPlusPlusNet),
    "basicvsr_pp of 64 channels": functools.partial(_net, BasicVSRPlusPlusNet, 64),
    "basicvsr_pp of 64 channels, x1": functools.partial(_net, BasicVSRPlusPlusNet, 64, is_low_res_input=False),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("precision", "least"), [("fp32", 70), ("bf16", 50), ("fp16", 60)])
@torch.no_grad()
def test_recorded_steps_give_the_picture_of_the_cpu(name, precision, least):
    net = NETS[name]()
    expected = net(_lrs(9))
    fast = accelerate(net.cuda(), precision=precision)
    for _ in range(3):
        assert _db(fast(_lrs(9).cuda()).cpu(), expected) > least
    # Of BasicVSR the two branches at once, at the ends and between, and reconstruction; of BasicVSR++ features, and
    # each sweep at its first step, at its second and later.
    counts = dict(basicvsr=3, iconvsr=5, basicvsr_pp=14)
    assert len(fast.step_graphs._recordings) >= counts[name.partition(" ")[0]]
    assert not fast.step_graphs.refusals


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@torch.no_grad()
def test_replays_equal_the_usual_way(precision):
    fast = accelerate(_net(BasicVSRNet).cuda(), precision=precision)
    lrs = _lrs(7).cuda()
    with _without_tf32():
        with steps_unrecorded(fast):
            expected = fast(lrs)
        for _ in range(3):
            assert (fast(lrs) - expected).abs().max() < (1e-2 if precision == "fp16" else 1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_our_kernels_give_what_pytorch_gives(dtype):
    for name, (got, right) in comparisons(torch.device("cuda:0"), dtype).items():
        error = float((got - right).abs().max() / right.abs().max())
        assert error < (1e-3 if dtype == torch.float16 else 8e-3), name
    assert kernels_work(torch.device("cuda:0"), dtype)


@pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.get_device_capability() != (9, 0), reason="kernels for Hopper GPUs"
)
@torch.no_grad()
def test_flow_by_kernels_is_as_near_as_by_tf32():
    assert flow_kernels_work(torch.device("cuda:0"))
    torch.manual_seed(0)
    spynet, pair = SPyNet().cuda().eval(), torch.rand(2, 3, 3, 70, 90).cuda()
    by_tf32 = spynet(*pair)
    with _without_tf32():
        right = spynet(*pair)
    spynet = by_flow_kernels(spynet)
    assert (spynet(*pair) - right).abs().max() <= 4 * (by_tf32 - right).abs().max() + 1e-5


def test_a_flow_that_overflowed_is_not_lost():
    x = torch.ones(1, 64, 8, 8, device="cuda").half().contiguous(memory_format=torch.channels_last)
    flow = torch.zeros(1, 2, 8, 8, device="cuda")
    flow[0, 0, 2, 3], flow[0, 1, 5, 6] = torch.nan, torch.inf
    broken = kernels.warp(x, flow).isnan().all(dim=1)[0]
    assert broken[2, 3]
    assert broken[5, 6]
    assert int(broken.sum()) == 2


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("arguments", [{}, dict(propagation="local", segments=2)], ids=["bidirectional", "local"])
@pytest.mark.parametrize(("precision", "most"), [("fp32", 1e-4), ("fp16", 1e-2)])
@torch.no_grad()
def test_branches_at_once_give_what_they_give_in_turn(precision, most, arguments, recorded, monkeypatch):
    if not recorded:
        monkeypatch.setattr("vsr_plugin.acceleration.cuda.graphs._MAX_GRAPHS", 0)
    fast = accelerate(_net(BasicVSRNet, **arguments).cuda(), precision=precision)
    lrs = _lrs(12, 90, 160).cuda()
    assert fast.branches_at_once(lrs)
    with _without_tf32():
        with steps_unrecorded(fast):
            assert not fast.branches_at_once(lrs)
            expected = fast(lrs)
        # Memory that a stream reused too early would show in some run: nothing is waited for between them.
        results = [fast(lrs) for _ in range(8)]
    assert max(float((result - expected).abs().max()) for result in results) < most
    both = {kind: recording for kind, recording in fast.step_graphs._recordings.items() if "_and_" in kind[1]}
    assert len(both) == (2 if recorded else 0)
    assert all(both.values()), "the two streams could not be recorded, or their replay was wrong"


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize(("precision", "most"), [("fp32", 1e-4), ("fp16", 1e-2)])
@torch.no_grad()
def test_what_is_computed_beside_is_what_it_is_in_turn(precision, most, recorded, monkeypatch):
    if not recorded:
        monkeypatch.setattr("vsr_plugin.acceleration.cuda.graphs._MAX_GRAPHS", 0)
    fast = accelerate(_net(IconVSRNet, 64, keyframe_stride=3).cuda(), precision=precision)
    lrs = _lrs(12, 92, 160).cuda()
    assert fast.lookahead(lrs) == 1
    with _without_tf32():
        with steps_unrecorded(fast):
            assert fast.lookahead(lrs) == 0
            expected = fast(lrs)
        results = [fast(lrs) for _ in range(8)]
    assert max(float((result - expected).abs().max()) for result in results) < most
    assert not fast.step_graphs.refusals


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("candidate", "slope"),
    [("_by_cudnn", 0), ("_in_one_pass", 0), ("_in_one_pass", 0.1), ("_add_in_one_pass", None)],
)
def test_every_candidate_exists_here_and_is_right(candidate, slope, dtype):
    torch.manual_seed(0)
    x, residual = (
        torch.randn(1, 64, 45, 80, device="cuda").to(dtype, memory_format=torch.channels_last) for _ in range(2)
    )
    weight = (torch.randn(64, 64, 3, 3, device="cuda") / 24).to(dtype, memory_format=torch.channels_last)
    bias = torch.randn(64, device="cuda").to(dtype)
    function = getattr(conv_with_epilogue, candidate)
    if candidate.startswith("_add"):
        arguments = (x, residual, weight, bias, (1, 1), (1, 1))
        expected = conv_with_epilogue.add_by_operators(*arguments)
    else:
        arguments = (x, weight, bias, (1, 1), (1, 1), slope)
        expected = conv_with_epilogue.by_operators(*arguments)
    got = function(*arguments)
    assert got.dtype == dtype
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert (got - expected).abs().max() <= 2e-2 * expected.abs().max()


@pytest.mark.parametrize("name", ["basicvsr", "iconvsr"])
@pytest.mark.parametrize("strategy", ["exact", "window"])
def test_strategies_give_what_whole_gives(name, strategy):
    net = NETS[name]().cuda()
    frames = list(_lrs(40)[0])
    with _without_tf32():
        whole = torch.stack(list(restore_frames(net, frames, strategy="whole")))
        other = torch.stack(list(restore_frames(net, frames, strategy=strategy, window=40)))
    assert whole.device.type == "cpu", "frames come back where they came from"
    assert (whole - other).abs().max() < 1e-4


def test_frames_of_an_iterable_come_in_order_and_whole():
    net = _net(BasicVSRNet)
    frames = [np.full((24, 32, 3), 5 * i, np.uint8) for i in range(20)]
    on_cpu = list(restore_frames(net, frames))
    for precision in ("fp32", "fp16"):
        on_gpu = list(restore_frames(net.cuda(), frames, precision=precision))
        assert len(on_gpu) == 20
        assert max(np.abs(a.astype(int) - b).max() for a, b in zip(on_cpu, on_gpu, strict=True)) <= 2


def test_an_overflow_is_repeated_in_float32(tmp_path):
    net = _net(BasicVSRNet).cuda()
    with torch.no_grad():
        net.backward_resblocks.main[0].weight.mul_(1e5)
        net.fusion.weight.mul_(1e-6)
    frames, notes = list(_lrs(6)[0]), []
    precise = torch.stack(list(restore_frames(net, frames)))
    got = torch.stack(list(restore_frames(net, frames, precision="fp16", on_note=notes.append)))
    assert any("overflows" in note for note in notes)
    assert (got - precise).abs().max() < 1e-3


def test_a_download_does_not_wait_for_the_gpu():
    busy = torch.randn(8192, 8192, device="cuda")
    for _ in range(20):
        busy = busy @ busy / 8192
    download = Download(busy)
    assert not download._arrived.query(), "the constructor waited"
    assert torch.equal(download.result(), busy.cpu())


def test_a_frame_costs_no_synchronisation(tmp_path):
    net = accelerate(_net(BasicVSRNet).cuda())
    plan, frames = Plan("whole", 12), list(_lrs(12)[0].cuda())
    for _ in range(2):  # by then everything is recorded
        list(restore_sequence(net, frames, plan, folder=tmp_path))
    torch.cuda.set_sync_debug_mode("error")
    try:
        restored = [hr for _, hr in restore_sequence(net, frames, plan, folder=tmp_path)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(restored) == 12
