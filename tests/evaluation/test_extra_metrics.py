"""Figures besides PSNR and SSIM through the metric of the runner and its report."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation import ClipQuality, report_table


def as_tensor(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()


def evaluate(metric: ClipQuality, gt: np.ndarray, restored: np.ndarray) -> dict[str, float]:
    element = BaseDataElement(
        metainfo=dict(key="a"), output=BaseDataElement(pred_img=as_tensor(restored)), gt_img=as_tensor(gt)
    )
    evaluator = Evaluator([metric])
    evaluator.process([element], None)
    return evaluator.evaluate(1)


@pytest.fixture
def clip():
    return np.random.default_rng(0).integers(0, 256, (3, 24, 32, 3), np.uint8)


def test_equal_clips(clip, tmp_path):
    metric = ClipQuality("set", extra=["tof", "warping"], out_dir=str(tmp_path))
    figures = evaluate(metric, clip, clip)
    assert figures["set/tof"] == 0
    assert figures["set/warping"] == figures["set/warping_gt"]
    document = json.loads((tmp_path / "set.json").read_text())
    assert [frame["tof"] for frame in document["clips"][0]["frames"]] == [None, 0.0, 0.0]
    assert len(document["definitions"]) == 2
    lines = (tmp_path / "set.csv").read_text().splitlines()
    assert [line[0] for line in lines[:4]] == ["#", "#", "#", "c"]
    assert lines[4].endswith(",,,")


def test_the_table_has_a_column_and_a_definition(clip):
    metric = ClipQuality("set", extra=["tof"])
    evaluate(metric, clip, clip)
    table = report_table([metric.report]).splitlines()
    assert [cell.strip() for cell in table[0].split("|")][4:7] == ["PSNR", "SSIM", "tOF"]
    assert table[-1].startswith("tOF: mean length")


def test_a_clip_of_one_frame_has_no_motion(clip):
    assert "set/tof" not in evaluate(ClipQuality("set", extra=["tof"]), clip[:1], clip[:1])


def test_errors():
    with pytest.raises(VSRError, match=r"ClipQuality of set: vmaf: no such metric .* there are tof, warping, lpips"):
        ClipQuality("set", extra=["vmaf"])
    with pytest.raises(VSRError, match="only the centre frames are scored"):
        ClipQuality("set", extra=["tof"], frames="centre")


@pytest.mark.skipif(importlib.util.find_spec("lpips") is not None, reason="lpips is installed")
def test_lpips_is_asked_for_where_it_is_absent():
    with pytest.raises(VSRError, match="pip install lpips"):
        ClipQuality("set", extra=["lpips"])


@pytest.mark.skipif(importlib.util.find_spec("lpips") is None, reason="lpips is not installed")
def test_lpips_of_equal_frames_is_zero(clip):
    from vsr_plugin.evaluation.perceptual import lpips_distance

    frame = np.kron(clip[0], np.ones((3, 3, 1), np.uint8))
    try:
        assert lpips_distance(frame, frame) == 0
    except VSRError as error:
        pytest.skip(str(error))
    assert lpips_distance(255 - frame, frame) > 0.1
