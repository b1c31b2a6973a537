import numpy as np
import pytest
import torch

from vsr_plugin.datasets.degradations import bicubic_downsample, bicubic_resize, bicubic_upsample


def scalar_imresize(signal: np.ndarray, factor: float) -> np.ndarray:
    """One-dimensional imresize written out tap by tap from its definition, 1-based as in MATLAB."""

    def kernel(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0

    stretch = max(1, 1 / factor)
    n = len(signal)
    out = []
    for i in range(1, int(np.ceil(n * factor)) + 1):
        u = i / factor + 0.5 * (1 - 1 / factor)
        taps = range(int(np.floor(u - 2 * stretch)), int(np.ceil(u + 2 * stretch)) + 1)
        weights = np.array([kernel((u - j) / stretch) for j in taps])
        mirrored = [*range(n), *reversed(range(n))]
        values = np.array([signal[mirrored[(j - 1) % (2 * n)]] for j in taps])
        out.append(weights @ values / weights.sum())
    return np.array(out)


@pytest.mark.parametrize("factor", [1 / 4, 1 / 3, 1 / 2, 2, 4])
@pytest.mark.parametrize("length", [1, 5, 16, 37])
def test_equals_the_definition(factor, length):
    signal = np.random.default_rng(0).random(length)
    frame = np.broadcast_to(signal[None, :, None], (8, length, 3)).copy()
    resized = bicubic_resize(frame, factor)
    expected = scalar_imresize(signal, factor)
    assert resized.shape == (int(np.ceil(8 * factor)), len(expected), 3)
    np.testing.assert_allclose(resized[0, :, 1], expected, atol=1e-12)


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
def test_constant_frames_stay_constant(value):
    frame = np.full((2, 20, 28, 3), value, np.uint8)
    assert (bicubic_downsample(frame) == value).all()
    assert (bicubic_upsample(frame) == value).all()


def test_integers_are_clipped_and_rounded_once_at_the_end():
    frame = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    exact = bicubic_downsample(frame.astype(np.float64))
    assert np.array_equal(bicubic_downsample(frame), np.floor(np.clip(exact, 0, 255) + 0.5).astype(np.uint8))
    step = np.zeros((4, 8, 3), np.uint8)
    step[:, 4:] = 255
    assert bicubic_upsample(step.astype(float)).max() > 255  # the kernel overshoots, so clipping matters
    assert bicubic_upsample(step).max() == 255


def test_tensors_equal_arrays():
    array = np.random.default_rng(2).random((2, 12, 20, 3))
    tensor = torch.from_numpy(array).movedim(-1, -3)
    resized = bicubic_downsample(tensor)
    assert resized.shape == (2, 3, 3, 5)
    np.testing.assert_allclose(resized.movedim(-3, -1).numpy(), bicubic_downsample(array), atol=1e-12)


def test_a_planar_array_is_refused():
    with pytest.raises(ValueError, match=r"RGB array \(\.\.\., h, w, 3\), got shape \(3, 8, 8\)"):
        bicubic_downsample(np.zeros((3, 8, 8)))
