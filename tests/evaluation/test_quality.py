import numpy as np
import pytest

from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation import Protocol, frame_quality
from vsr_plugin.ops.frames import to_uint8


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((a - b) ** 2))


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    gt = rng.integers(0, 256, (24, 32, 3), np.uint8)
    return gt, np.clip(gt + rng.integers(-9, 10, gt.shape), 0, 255).astype(np.uint8)


def test_rgb_psnr(pair):
    gt, restored = pair
    assert frame_quality(restored, gt, Protocol("RGB"))[0] == pytest.approx(psnr(gt.astype(float), restored), abs=1e-4)


def test_y_psnr_uses_bt601_luma(pair):
    # Y' = 16 + (65.481 R + 128.553 G + 24.966 B) / 255
    luma = [frame @ np.array([65.481, 128.553, 24.966]) / 255 for frame in pair]
    assert frame_quality(*pair)[0] == pytest.approx(psnr(*luma), abs=1e-3)


def test_crop_border_leaves_out_the_edges(pair):
    gt, restored = pair
    damaged = restored.copy()
    damaged[:4] = 255 - damaged[:4]
    protocol = Protocol("RGB", crop_border=4)
    assert frame_quality(damaged, gt, protocol) == frame_quality(restored, gt, protocol)
    assert frame_quality(damaged, gt) != frame_quality(restored, gt)


def test_equal_frames():
    frame = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    assert frame_quality(frame, frame) == (float("inf"), pytest.approx(1))


def test_16_bit_frames_are_rounded_to_8():
    values = np.array([0, 128, 129, 257, 65407, 65535], np.uint16)
    assert to_uint8(values).tolist() == [0, 0, 1, 1, 255, 255]


def test_the_protocol_says_what_was_measured():
    assert "Y channel" in str(Protocol())
    assert "RGB, 4 pixels cropped" in str(Protocol("RGB", 4))


@pytest.mark.parametrize(("size", "border"), [((11, 11), 0), ((31, 40), 10)])
def test_the_smallest_frames_that_can_be_measured(size, border):
    protocol = Protocol("RGB", border)
    frame = np.random.default_rng(2).integers(0, 256, (*size, 3), np.uint8)
    protocol.check_size(*size)
    assert np.isfinite(frame_quality(frame, 255 - frame, protocol)).all()
    with pytest.raises(VSRError, match=rf"crop border {border}: leaves less than 11x11 .* of {size[1]}x{size[0] - 1};"):
        protocol.check_size(size[0] - 1, size[1])
