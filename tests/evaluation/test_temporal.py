"""Flow, tOF and warping error on clips whose motion is known."""

import cv2
import numpy as np
import pytest

from vsr_plugin.evaluation.temporal import (
    dis_flow,
    farneback_flow,
    is_occluded,
    leaves_image,
    tof,
    warp,
    warping_errors,
)


def pan(shift: tuple[float, float], frames: int = 2, size: tuple[int, int] = (96, 128)) -> list[np.ndarray]:
    """A smooth picture whose content moves by ``shift`` pixels (right, down) per frame."""
    h, w = size
    noise = np.random.default_rng(0).integers(0, 256, (h // 4 + 16, w // 4 + 16, 3), np.uint8)
    wide = cv2.resize(noise, (w + 64, h + 64), interpolation=cv2.INTER_CUBIC)
    moves = [np.float32([[1, 0, -32 + i * shift[0]], [0, 1, -32 + i * shift[1]]]) for i in range(frames)]
    return [cv2.warpAffine(wide, move, (w, h), flags=cv2.INTER_CUBIC) for move in moves]


@pytest.mark.parametrize("estimate", [farneback_flow, dis_flow])
def test_flow_points_to_where_the_content_goes(estimate):
    first, second = pan((2, -1))
    flow = estimate(first, second)[16:-16, 16:-16]
    assert np.median(flow, axis=(0, 1)) == pytest.approx([2, -1], abs=0.1)


def test_tof_is_zero_for_equal_clips_and_the_difference_of_the_motions():
    still, moved = pan((0, 0)), pan((2, 0))
    assert tof(*moved, *moved) == 0
    assert tof(*moved, *still) == pytest.approx(2, abs=0.2)
    assert tof(*pan((3, 0)), *moved) == pytest.approx(1, abs=0.2)


def test_tof_of_frames_smaller_than_its_border():
    assert tof(*[np.zeros((12, 12, 3), np.uint8)] * 4) == 0


def test_warping_error_is_that_of_a_flickering_clip():
    first, second = (frame // 2 for frame in pan((2, 0)))
    own, truth = warping_errors(first, second, first, second)
    assert own == truth
    # Brighter by 20 of 255 at places of equal content.
    flickering, _ = warping_errors(first, second + 20, first, second)
    assert flickering == pytest.approx(1e3 * (20 / 255) ** 2 + truth, rel=0.1)
    assert flickering > 5 * truth


def test_warp_by_an_integer_and_what_leaves_the_image():
    image = np.arange(20, dtype=np.float32).reshape(4, 5)
    flow = np.zeros((4, 5, 2), np.float32)
    flow[..., 0] = 1
    assert np.array_equal(warp(image, flow)[:, :4], image[:, 1:])
    assert leaves_image(flow).sum() == 4
    assert leaves_image(flow)[:, -1].all()


def test_occluded_is_where_the_way_back_ends_elsewhere():
    flow = np.zeros((8, 8, 2), np.float32)
    backward = np.zeros_like(flow)
    backward[2:4] = 5
    occluded = is_occluded(flow, backward)
    assert occluded[2:4].all()
    assert occluded.sum() == 16


def test_small_frames_do_not_end_the_process():
    assert dis_flow(*[np.zeros((8, 8, 3), np.uint8)] * 2).shape == (8, 8, 2)
