"""PSNR by region on frames whose hidden and leaving parts are known."""

import math

import cv2
import numpy as np
import pytest

from vsr_plugin.evaluation import ClipQuality, Protocol, frame_quality
from vsr_plugin.evaluation.extra_metrics import extra_figures
from vsr_plugin.evaluation.temporal import REGIONS, label_regions, region_psnr

H, W, SIDE = 96, 160, 32


def texture(seed: int, height: int, width: int) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def scene(left: int, pan: int = 0) -> np.ndarray:
    """A square over a background that both are textured; ``pan`` moves all of it to the left."""
    frame = texture(0, H, W + 64)[:, pan : pan + W].copy()
    frame[32 : 32 + SIDE, left : left + SIDE] = texture(1, SIDE, SIDE)
    return frame


def test_what_a_square_has_just_left_is_occluded_in_the_frame_before():
    before, frame = scene(56), scene(64)
    regions = label_regions(frame, [before])
    assert np.array_equal(sum(regions.values()), np.ones((H, W)))
    uncovered = (slice(36, 28 + SIDE), slice(57, 63))
    assert regions["occluded"][uncovered].mean() > 0.8
    assert regions["occluded"][:24].mean() < 0.02
    assert regions["outside"].mean() < 0.02


def test_what_comes_in_at_the_edge_is_outside_the_frame_before():
    regions = label_regions(scene(64, pan=8), [scene(72)])
    assert regions["outside"][:, -6:].mean() > 0.9
    assert regions["followed"][:, 16:-16].mean() > 0.8


def test_an_error_counts_in_its_own_region():
    before, frame = scene(56), scene(64)
    regions = label_regions(frame, [before])
    restored = np.clip(frame, 40, 215)
    gt = restored.copy()
    restored[regions["occluded"]] += 8
    figures = region_psnr(restored, gt, [np.clip(before, 40, 215)], Protocol("RGB"))
    assert set(figures) == {f"psnr_{name}" for name in REGIONS}
    # Almost all of the region by the same flow on clipped frames; nothing elsewhere.
    assert figures["psnr_occluded"] == pytest.approx(10 * math.log10(255**2 / 8**2), abs=1)
    assert figures["psnr_followed"] > figures["psnr_occluded"] + 15


@pytest.mark.parametrize("protocol", [Protocol("Y"), Protocol("RGB"), Protocol("Y", crop_border=4)])
def test_of_a_still_clip_all_is_followed_and_has_the_psnr_of_the_frame(protocol):
    gt = texture(0, H, W)
    restored = np.clip(gt.astype(int) + np.random.default_rng(1).integers(-9, 10, gt.shape), 0, 255).astype(np.uint8)
    figures = region_psnr(restored, gt, [gt, gt], protocol)
    assert figures["psnr_occluded"] is None
    assert figures["psnr_outside"] is None
    assert figures["psnr_followed"] == pytest.approx(frame_quality(restored, gt, protocol)[0], abs=1e-4)


def test_equal_frames_are_infinite_and_a_single_frame_is_followed():
    gt = texture(0, H, W)
    figures = extra_figures(["regions"], lambda i: gt, lambda i: gt, 0, 1, Protocol())
    assert figures == dict(psnr_occluded=None, psnr_outside=None, psnr_followed=math.inf)


def test_both_neighbours_count():
    frames = [scene(56), scene(64), scene(72)]
    seen = [region_psnr(frames[1], frames[1], [frames[i]])["psnr_occluded"] for i in (0, 2)]
    assert seen == [math.inf, math.inf]
    hidden = label_regions(frames[1], [frames[0], frames[2]])["occluded"]
    each = [label_regions(frames[1], [frames[i]])["occluded"] for i in (0, 2)]
    assert np.array_equal(hidden, each[0] | each[1])
    # Nothing is hidden by a square that has only left.
    assert hidden.sum() > each[0].sum()


def test_the_metric_of_the_runner_has_the_figures_and_their_definition():
    import torch
    from mmengine.evaluator import Evaluator
    from mmengine.structures import BaseDataElement

    gt = torch.from_numpy(np.stack([scene(56), scene(64), scene(72)])).permute(0, 3, 1, 2)
    element = BaseDataElement(metainfo=dict(key="a"), output=BaseDataElement(pred_img=gt // 2 * 2), gt_img=gt)
    metric = ClipQuality("set", extra=["regions"])
    evaluator = Evaluator([metric])
    evaluator.process([element], None)
    figures = evaluator.evaluate(1)
    assert 45 < figures["set/PSNR_occluded"] < 60
    assert metric.report.definitions[0].startswith("regions: PSNR by what the frames before and after show")
