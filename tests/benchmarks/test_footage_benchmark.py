"""The benchmark of compressed footage."""

import re

import numpy as np
import pytest

from vsr_plugin.benchmarks.footage import (
    Coding,
    FootageScore,
    draw_gains,
    measure_as_it_is,
    measure_footage,
    table,
)
from vsr_plugin.data.degraded_clip import read_frames
from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation import frame_quality
from vsr_plugin.ops.resize import bicubic_upsample


def test_codings():
    frames = np.stack([frame[:64, :96] for frame in read_frames("bikes", start=30, num_frames=3)])
    np.testing.assert_array_equal(Coding.parse("none")(frames).frames, frames)
    assert str(Coding.parse("mpeg2:1.5M")) == "mpeg2 1.5 Mb/s"
    good, bad = (Coding.parse(f"h264:{q}")(frames) for q in (15, 35))
    assert np.abs(good.frames - 1.0 * frames).mean() < np.abs(bad.frames - 1.0 * frames).mean()
    assert good.quantiser_step < bad.quantiser_step / 4


def test_small_frames_are_coded_alike_each_time():
    frames = np.stack([frame[:32, :32] for frame in read_frames("bikes", start=30, num_frames=16)])
    first, *others = (Coding.parse("h264:18")(frames).frames for _ in range(8))
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("text", ["h264", "av9:20", "h264:x", "mpeg2:M", "mpeg2:-1M"])
def test_bad_codings(text):
    with pytest.raises(VSRError, match="use none, CODEC:QUALITY"):
        Coding.parse(text)


def test_scores_and_table(tmp_path):
    gt = [np.ascontiguousarray(frame[:64, :96]) for frame in read_frames("bikes", start=30, num_frames=2)]
    codings = [Coding.parse("none"), Coding.parse("mpeg4:8")]
    perfect = {"truth": lambda decoded: [frame // 2 * 2 for frame in gt]}
    scores = list(measure_footage("bikes", gt, codings, perfect, metrics=["tof"]))
    assert [(s.coding, s.method) for s in scores] == [(c, m) for c in ("none", "mpeg4 8") for m in ("bicubic", "truth")]
    from vsr_plugin.ops.resize import bicubic_downsample

    expected = np.mean([frame_quality(bicubic_upsample(bicubic_downsample(f, 4), 4), f)[0] for f in gt])
    assert scores[0].figures["psnr"] == pytest.approx(expected)
    assert scores[2].figures["psnr"] < scores[0].figures["psnr"] < scores[1].figures["psnr"]
    lines = list(table(scores))
    assert len(lines) == 4
    assert lines[0].startswith(
        "| clip | codec | step told | step seen | bicubic psnr | bicubic ssim | bicubic tof | truth psnr"
    )
    assert f"(+{scores[1].figures['psnr'] - expected:.2f})" in lines[2]
    assert lines[3].startswith(f"| bikes | mpeg4 8 | 16 | {scores[2].seen:.3g} | ")
    draw_gains(scores, tmp_path / "gains.png")
    assert (tmp_path / "gains.png").stat().st_size > 5000


def test_means_over_clips_stand_at_the_end():
    psnr = {"a": {"bicubic": 20.0, "plain": 21.0}, "b": {"bicubic": 30.0, "plain": 30.5}}
    scores = [
        FootageScore(clip, coding, method, dict(psnr=value + offset, ssim=0.5))
        for clip, of_clip in psnr.items()
        for coding, offset in (("h264 18", 2.0), ("h264 28", 0.0))
        for method, value in of_clip.items()
    ]
    lines = list(table(scores))
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["a", "a", "b", "b", "mean of 2", "mean of 2"]
    assert lines[-2:] == [
        "| mean of 2 | h264 18 |  |  | 27.00 | 0.5000 | 27.75 (+0.75) | 0.5000 |",
        "| mean of 2 | h264 28 |  |  | 25.00 | 0.5000 | 25.75 (+0.75) | 0.5000 |",
    ]


def test_a_figure_that_a_clip_has_not_leaves_its_place_empty():
    figures = dict(
        a=dict(psnr=20.0, psnr_occluded=None, psnr_outside=1.0), b=dict(psnr=30.0, psnr_occluded=2.0, psnr_outside=3.0)
    )
    lines = list(table(FootageScore(clip, "none", "bicubic", of) for clip, of in figures.items()))
    assert lines[2:] == [
        "| a | none |  |  | 20.00 |  | 1.00 |",
        "| b | none |  |  | 30.00 | 2.00 | 3.00 |",
        "| mean of 2 | none |  |  | 25.00 |  | 2.00 |",
    ]


def test_clips_without_truth():
    frames = [np.ascontiguousarray(frame[:48, :96]) for frame in read_frames("bikes", start=30, num_frames=2)]
    noise = np.random.default_rng(0).normal(0, 40, (192, 384, 3))
    noisy = {"noisy": lambda of: ((bicubic_upsample(f, 4) + noise).clip(0, 255).astype(np.uint8) for f in of.frames)}
    bicubic, worse = measure_as_it_is("bikes", frames, noisy)
    assert (bicubic.coding, bicubic.method, worse.method) == ("as it is", "bicubic", "noisy")
    assert bicubic.figures["niqe"] < worse.figures["niqe"]
    assert len(list(table([bicubic, worse]))) == 3
    with pytest.raises(VSRError, match="bikes: too small for NIQE"):
        list(measure_as_it_is("bikes", [frame[:20] for frame in frames], {}))


def test_shares_of_an_adaptation_are_compared(run_tool):
    small = ("--clips", "bikes", "--crop", "32x32", "--frames", "1", "--codings", "mpeg4:8")
    which = ("--adaptation", "footage_adaptation_coarse", "--shares", "0", "1")
    status, out, err = run_tool("benchmark", "footage", *small, *which)
    assert status == 0, err
    none, whole = re.findall(r"\(([+-][\d.]+)\)", out.splitlines()[-1])
    assert "share 0 psnr" in out
    assert none != whole
    status, _, err = run_tool("benchmark", "footage", *small, *which, "--weights", "basicvsr_reds4")
    assert status != 0
    words = "changes of other weights than basicvsr_reds4; name those by --weights"
    assert err == f"error: footage_adaptation_coarse: {words}\n"


def test_ensembles_are_measured(run_tool):
    small = ("--clips", "bikes", "--crop", "32x48", "--frames", "2", "--codings", "none")
    gains = []
    for turns in ("1", "4"):
        status, out, err = run_tool("benchmark", "footage", *small, "--ensemble", turns)
        assert status == 0, err
        assert ("ensemble of 4" in out) == (turns == "4")
        gains.append(float(re.findall(r"\(([+-][\d.]+)\)", out.splitlines()[-1])[0]))
    assert gains[1] > gains[0]


def test_a_network_is_adapted_to_other_steps(run_tool):
    small = ("--clips", "bikes", "--crop", "32x32", "--frames", "1", "--codings", "mpeg4:8")
    status, out, err = run_tool("benchmark", "footage", *small, "--as-step", "1", "16", "50")
    assert status == 0, err
    not_adapted, *others = re.findall(r"\(([+-][\d.]+)\)", out.splitlines()[-1])
    for name, same in (("fine", others[0]), ("coarse", others[1])):
        which = ("--adaptation", f"footage_adaptation_{name}", "--shares", "0", "1")
        _, out, _ = run_tool("benchmark", "footage", *small, *which)
        assert re.findall(r"\(([+-][\d.]+)\)", out.splitlines()[-1]) == [not_adapted, same]
    status, _, err = run_tool("benchmark", "footage", *small, "--as-step", "16", "--weights", "basicvsr_reds4")
    assert status != 0
    assert err == "error: --as-step: nothing ships that adapts basicvsr_reds4; leave it, or --weights, out\n"
    status, _, err = run_tool("benchmark", "footage", *small, "--as-step", "0")
    assert status != 0
    assert "a quantiser's step of 0/255; use a number from 1 to 255" in err
    for which in (("--as-step", "16"), ("--adaptation", "footage_adaptation_fine")):
        status, _, err = run_tool("benchmark", "footage", *small, *which, "--clean", "0")
        assert status != 0
        assert err == "error: --clean 0: adaptations serve cleaned frames alone; use a strength above 0\n"
