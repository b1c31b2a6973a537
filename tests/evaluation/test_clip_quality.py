"""The metric through mmengine's evaluator, on data samples as the trainable model returns them."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation import ClipQuality, Protocol, frame_quality
from vsr_plugin.ops.resize import bicubic_downsample, bicubic_upsample
from vsr_plugin.registry import METRICS


def as_tensor(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()


def sample(key: str, gt: np.ndarray | None, restored: np.ndarray, first: int = 0) -> BaseDataElement:
    output = BaseDataElement(pred_img=as_tensor(restored))
    element = BaseDataElement(metainfo=dict(key=key), output=output, input=as_tensor(bicubic_downsample(restored)))
    if gt is not None:
        element.set_metainfo(dict(frames=list(range(first, first + len(gt)))))
        element.gt_img = as_tensor(gt)
        element.input = as_tensor(bicubic_downsample(gt))
    return element


def clip(seed: int, frames: int, noise: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    gt = rng.integers(0, 256, (frames, 24, 32, 3), np.uint8)
    return gt, np.clip(gt + rng.integers(-noise, noise + 1, gt.shape), 0, 255).astype(np.uint8)


def evaluate(metric: ClipQuality, *samples: BaseDataElement) -> dict[str, float]:
    evaluator = Evaluator([metric])
    for element in samples:
        evaluator.process([element], None)
    return evaluator.evaluate(len(samples))


def test_mean_over_clips_of_the_mean_over_frames():
    clips = {"b/10": clip(0, 2), "b/9": clip(1, 3)}
    metric = METRICS.build(dict(type="ClipQuality", dataset="REDS4"))
    figures = evaluate(metric, *(sample(key, *pair) for key, pair in clips.items()))
    expected = [
        np.mean([frame_quality(f, g, Protocol("RGB")) for g, f in zip(*pair, strict=True)], axis=0)
        for pair in clips.values()
    ]
    assert list(figures) == ["REDS4/PSNR", "REDS4/SSIM"]
    assert list(figures.values()) == pytest.approx(np.mean(expected, axis=0))
    assert [scores.clip for scores in metric.report.clips] == ["b/9", "b/10"]


def test_scoring_in_threads_leaves_standard_output_alone():
    code = (
        "import sys, torch; from vsr_plugin.evaluation import ClipQuality; before = sys.stdout;"
        "frames = torch.zeros(64, 3, 16, 16, dtype=torch.uint8);"
        "sample = dict(key='000', gt_img=frames, output=dict(pred_img=frames));"
        "ClipQuality('A').process({}, [sample]);"
        "assert sys.stdout is before"
    )
    # In a process of its own, where MMagic's metrics are not imported yet.
    subprocess.run([sys.executable, "-c", code], check=True)


def test_channel_and_border_are_those_of_the_protocol():
    gt, restored = clip(0, 1)
    figures = evaluate(ClipQuality("Vid4", channel="Y", crop_border=3), sample("city", gt, restored))
    assert figures["Vid4/PSNR"] == pytest.approx(frame_quality(restored[0], gt[0], Protocol("Y", 3))[0])


def test_centre_frame_of_a_septuplet():
    gt, restored = clip(0, 7)
    metric = ClipQuality("Vimeo-90K-T", frames="centre")
    figures = evaluate(metric, sample("00001/0266", gt, restored, first=1))
    assert figures["Vimeo-90K-T/PSNR"] == pytest.approx(frame_quality(restored[3], gt[3], Protocol("RGB"))[0])
    assert metric.report.clips[0].frames == [4]
    assert "centre frame" in metric.report.protocol_line


def test_bicubic_baseline_is_computed_once(monkeypatch):
    gt, restored = clip(0, 2)
    calls = []

    def counting(frame, scale):
        calls.append(1)
        return bicubic_upsample(frame, scale)

    monkeypatch.setattr("vsr_plugin.evaluation.clip_quality.bicubic_upsample", counting)
    metric = ClipQuality("REDS4", baseline=True)
    first, second = (evaluate(metric, sample("000", gt, restored)) for _ in range(2))
    assert first == second
    assert len(calls) == 2
    enlarged = [bicubic_upsample(bicubic_downsample(frame)) for frame in gt]
    expected = np.mean([frame_quality(f, g, Protocol("RGB")) for f, g in zip(enlarged, gt, strict=True)], axis=0)
    assert [first["REDS4/PSNR_bicubic"], first["REDS4/SSIM_bicubic"]] == pytest.approx(expected)


def test_clips_that_the_sampler_repeated_count_once():
    pairs = {"000": clip(0, 2), "011": clip(1, 2)}
    samples = [sample(key, *pair) for key, pair in pairs.items()]
    metric = ClipQuality("REDS4")
    assert evaluate(metric, *samples, samples[0], samples[0]) == evaluate(metric, *samples)
    assert len(metric.report.clips) == 2


def test_files(tmp_path):
    metric = ClipQuality("REDS4", out_dir=tmp_path / "figures", weights="basicvsr_reds4", baseline=True)
    gt, restored = clip(0, 2)
    figures = evaluate(metric, sample("000", gt, restored, first=5), sample("011", *clip(1, 1)))
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["REDS4.csv", "REDS4.json"]
    document = json.loads((tmp_path / "figures" / "REDS4.json").read_text())
    assert document["weights"] == "basicvsr_reds4"
    assert "RGB, no border cropped" in document["protocol"]
    assert (document["num_clips"], document["num_frames"]) == (2, 3)
    assert document["mean"]["psnr"] == figures["REDS4/PSNR"]
    frames = [frame["psnr"] for each in document["clips"] for frame in each["frames"]]
    assert document["mean_over_all_frames"]["psnr"] == pytest.approx(np.mean(frames))
    comment, *lines = (tmp_path / "figures" / "REDS4.csv").read_text().splitlines()
    assert comment == f"# {document['protocol']}"
    rows = list(csv.DictReader(lines))
    assert list(rows[0]) == ["clip", "frame", "psnr", "ssim", "psnr_bicubic", "ssim_bicubic"]
    assert [(row["clip"], row["frame"]) for row in rows] == [("000", "5"), ("000", "6"), ("011", "0")]
    assert [float(row["psnr"]) for row in rows] == pytest.approx(frames, abs=1e-6)


def test_clips_of_one_length_have_one_mean(tmp_path):
    evaluate(ClipQuality("Vid4", out_dir=tmp_path), sample("a", *clip(0, 2)), sample("b", *clip(1, 2)))
    assert "mean_over_all_frames" not in json.loads((tmp_path / "Vid4.json").read_text())


def test_equal_frames_leave_valid_json(tmp_path):
    gt, _ = clip(0, 2)
    assert evaluate(ClipQuality("Vid4", out_dir=tmp_path), sample("city", gt, gt))["Vid4/PSNR"] == float("inf")

    def refuse(constant: str):
        raise AssertionError(constant)

    document = json.loads((tmp_path / "Vid4.json").read_text(), parse_constant=refuse)
    assert float(document["mean"]["psnr"]) == float("inf")


def test_the_protocol_is_logged_once(monkeypatch):
    lines = []
    monkeypatch.setattr("vsr_plugin.evaluation.clip_quality.print_log", lambda line, logger: lines.append(line))
    metric = ClipQuality("REDS4")
    for _ in range(2):
        evaluate(metric, sample("000", *clip(0, 1)))
    assert lines == [f"REDS4: {metric.report.protocol_line}"]


@pytest.mark.parametrize(
    ("gt", "restored", "message"),
    [
        (None, clip(0, 2)[1], "REDS4, clip 000: has no ground truth"),
        (clip(0, 3)[0], clip(0, 2)[1], "restored to 2 frames of 32x24, but the ground truth has 3 frames of 32x24"),
        (clip(0, 2)[0][:, :20], clip(0, 2)[1], "the ground truth has 2 frames of 32x20"),
    ],
)
def test_samples_that_cannot_be_scored(gt, restored, message):
    with pytest.raises(VSRError, match=message):
        ClipQuality("REDS4").process({}, [sample("000", gt, restored).to_dict()])


def test_an_empty_set():
    with pytest.raises(VSRError, match="Vid4: there was no clip to score"):
        ClipQuality("Vid4").evaluate(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(dataset="Vid4", channel="YUV"), "channel 'YUV' does not exist"),
        (dict(dataset="Vid4", frames="first"), "frames 'first' does not exist"),
        (dict(dataset="a/b"), "'a/b' cannot name a data set"),
    ],
)
def test_arguments_that_do_not_exist(options, message):
    with pytest.raises(VSRError, match=message):
        ClipQuality(**options)
