from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import ndimage

from vsr_plugin.data.degradations import DEGRADATIONS, blur_downsample
from vsr_plugin.ops.resize import bicubic_downsample, bicubic_resize, bicubic_upsample

DOWNSAMPLE = [degradation.downsample for degradation in DEGRADATIONS.values()]


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


@pytest.mark.parametrize("resize", [*DOWNSAMPLE, bicubic_upsample])
@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
def test_constant_frames_stay_constant(resize, value):
    assert (resize(np.full((2, 20, 28, 3), value, np.uint8)) == value).all()
    np.testing.assert_allclose(resize(np.full((19, 27, 3), value / 255)), value / 255, atol=1e-14)


def test_integers_are_clipped_and_rounded_once_at_the_end():
    frame = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
    exact = bicubic_downsample(frame.astype(np.float64))
    assert np.array_equal(bicubic_downsample(frame), np.floor(np.clip(exact, 0, 255) + 0.5).astype(np.uint8))
    step = np.zeros((4, 8, 3), np.uint8)
    step[:, 4:] = 255
    assert bicubic_upsample(step.astype(float)).max() > 255  # the kernel overshoots, so clipping matters
    assert bicubic_upsample(step).max() == 255


@pytest.mark.parametrize("downsample", DOWNSAMPLE)
@pytest.mark.parametrize("shape", [(12, 20), (15, 22), (3, 1)])
def test_tensors_equal_arrays_and_dtypes_stay(downsample, shape):
    array = np.random.default_rng(2).random((2, *shape, 3))
    resized = downsample(torch.from_numpy(array).movedim(-1, -3))
    assert resized.shape == (2, 3, -(-shape[0] // 4), -(-shape[1] // 4))
    np.testing.assert_allclose(resized.movedim(-3, -1).numpy(), downsample(array), atol=1e-12)
    assert downsample(array.astype(np.float32)).dtype == np.float32
    assert downsample(torch.from_numpy(array).movedim(-1, -3).float()).dtype == torch.float32
    deep = (array * 65535).astype(np.uint16)
    assert np.array_equal(downsample(deep), np.floor(np.clip(downsample(deep.astype(float)), 0, 65535) + 0.5))
    assert downsample(deep).dtype == np.uint16


@pytest.mark.parametrize("downsample", DOWNSAMPLE)
def test_a_planar_array_is_refused(downsample):
    with pytest.raises(ValueError, match=r"RGB array \(\.\.\., h, w, 3\), got shape \(3, 8, 8\)"):
        downsample(np.zeros((3, 8, 8)))


def plain_blur(frame: np.ndarray) -> np.ndarray:
    """BD_degradation.m pixel by pixel: correlation with a 12x12 kernel, edge repeated, img(2:4:end-2) kept."""
    y, x = np.mgrid[-5.5:6, -5.5:6]
    kernel = np.exp(-(x**2 + y**2) / (2 * 1.6**2))
    kernel /= kernel.sum()
    h, w = frame.shape[:2]
    # imfilter puts the centre of an even kernel at its element size / 2, counted from 1: 5 before it, 6 behind.
    padded = np.pad(frame.astype(np.float64), ((5, 6), (5, 6), (0, 0)), mode="edge")
    out = np.empty((h // 4, w // 4, 3))
    for i, top in enumerate(range(1, h - 2, 4)):
        for j, left in enumerate(range(1, w - 2, 4)):
            out[i, j] = (padded[top : top + 12, left : left + 12] * kernel[..., None]).sum((0, 1))
    return out


def test_blur_equals_the_authors_script_in_float64():
    frame = np.random.default_rng(3).integers(0, 256, (36, 48, 3), np.uint8)
    expected = plain_blur(frame)
    np.testing.assert_allclose(blur_downsample(frame.astype(np.float64)), expected, atol=1e-11)
    assert np.array_equal(blur_downsample(frame), np.floor(expected + 0.5))


def test_blur_equals_scipy():
    frame = np.random.default_rng(4).random((40, 28, 3))
    taps = np.exp(-(np.arange(-5.5, 6) ** 2) / (2 * 1.6**2))
    blurred = frame
    for axis in (0, 1):
        # For even kernels scipy's origin moves the window by half a pixel: -1 looks 5 back and 6 ahead.
        blurred = ndimage.correlate1d(blurred, taps / taps.sum(), axis=axis, mode="nearest", origin=-1)
    np.testing.assert_allclose(blur_downsample(frame), blurred[1::4, 1::4], atol=1e-13)


@pytest.mark.parametrize("downsample", DOWNSAMPLE)
def test_lr_pixels_stand_in_the_middle_of_their_gt_pixels(downsample):
    ramp = np.broadcast_to(np.arange(64.0)[None, :, None], (8, 64, 3)).copy()
    inner = downsample(ramp)[0, 2:-2, 0]
    np.testing.assert_allclose(inner, 4 * np.arange(2, 14) + 1.5, atol=1e-11)


@pytest.mark.parametrize("kind", DEGRADATIONS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_crop_with_the_margin_degrades_to_the_crop_of_the_whole(kind, scale):
    downsample, margin = DEGRADATIONS[kind].downsample, DEGRADATIONS[kind].margin(scale)
    assert margin % scale == 0
    rng = np.random.default_rng(5)
    # Hard steps make ties, where the order of a sum decides about rounding.
    noise = rng.integers(0, 256, (72, 96, 3), np.uint8)
    steps = np.where(np.add.outer(np.arange(72) // 6, np.arange(96) // 2)[..., None] % 2, [255, 1, 8], [0, 0, 9])
    size = 6 * scale
    for frame in (noise, steps.astype(np.uint8)):
        h, w = frame.shape[0] // scale * scale, frame.shape[1] // scale * scale
        frame = frame[:h, :w]
        whole = downsample(frame, scale)
        for top in range(0, h - size + 1, scale):
            left = (
                int(rng.integers(0, (w - size) // scale + 1)) * scale if 0 < top < h - size else (w - size) * (top > 0)
            )
            above, before = min(margin, top), min(margin, left)
            part = frame[top - above : top + size + margin, left - before : left + size + margin]
            lr = downsample(part, scale)[above // scale :, before // scale :][:6, :6]
            assert np.array_equal(lr, whole[top // scale :, left // scale :][:6, :6])


def test_the_margin_is_no_larger_than_needed():
    frame = np.zeros((64, 64, 3))
    frame[:, 32] = 1
    for kind, reach in (("BI", 6), ("BD", 4)):
        assert DEGRADATIONS[kind].reach(4) == reach
        # LR pixel i owns GT pixels 4i to 4i + 3 and looks `reach` further.
        seen = np.flatnonzero(DEGRADATIONS[kind].downsample(frame)[0, :, 0])
        assert list(seen) == [i for i in range(16) if 4 * i - reach <= 32 <= 4 * i + 3 + reach]


# What MATLAB gives for imresize(uint8 array, factor, "bicubic"), as recorded in the tests of GNU Octave's image package
# (inst/imresize.m, "reference results from matlab"). For the same arrays in double, its authors state that the two
# differ by less than 4e-13.
MATLAB_INPUT = """
    116 227 153  69 146 194  59 130 139 106
      2  47 137 249  90  75  16  24 158  44
    155  68  46  84 166 156  69 204  32 152
     71 221 137 230 210 153 192 115  30 118
    107 143 108  52  51  73 101  21 175  90
     54 158 143  77  26 168 113 229 165 225
      9  47 133 135 130 207 236  43  19  73
    129  60  59 243  64 181 249  56  32  86"""
MATLAB_OUTPUT = {
    Fraction(1, 2): """
    105 140 126  81 109
    110 134 153 114  93
    108 108  94 127 146
     67 126 162 149  62""",
    Fraction(1, 3): """
    115 135  97 101
    113 119 124 125
     81 157 118  64""",
    Fraction(4, 3): """
    116 203 221 141  62 110 180 191  70 104 143 136 111 106
     26  78 126 156 200 139 103 103  33  28  92 158  67  46
     51  35  51 112 195 146 101  87  29  57 100 114  81  74
    159 110  63  50  82 148 179 152  83 173 147  27 143 170
     70 171 189 134 217 226 193 158 186 157  83  25 114 135
     91 152 162 116 118 114 102  98 138  65  60 127  92  84
     90 130 144 111  52  24  50 101  94  86 129 190 146 135
     41 114 157 139  89  37  82 178 125 192 203 154 213 227
      4  33  89 141 127 118 151 213 232 119  35  34  81  92
     88  61  54  97 203 129 115 203 255 119  18  24  70  81
    147  91  43  68 247 125  80 191 255 130  33  37  83  94""",
}


def numbers(table: str) -> np.ndarray:
    return np.array([[int(value) for value in line.split()] for line in table.strip().splitlines()], np.uint8)


def along_rows(frame: np.ndarray, factor: float) -> np.ndarray:
    """Resize (h, w, 3) along h only, rounding: every column is a frame of width 1, which stays as it is."""
    columns = np.moveaxis(frame, 1, 0)[:, :, None]
    return np.moveaxis(bicubic_resize(columns, factor)[:, :, 0], 0, 1)


@pytest.mark.parametrize("factor", MATLAB_OUTPUT)
def test_equals_matlab(factor):
    expected = numbers(MATLAB_OUTPUT[factor])
    frame = np.repeat(numbers(MATLAB_INPUT)[..., None], 3, axis=2)
    # Of uint8 arrays MATLAB resizes the rows first and rounds before it goes on with the columns.
    rows = along_rows(frame, float(factor))
    both = along_rows(rows.swapaxes(0, 1), float(factor)).swapaxes(0, 1)
    assert np.array_equal(both[..., 0], expected)
    # Rounding once gives the same within one level.
    assert np.abs(bicubic_resize(frame, float(factor))[..., 0].astype(int) - expected).max() <= 1


def test_equals_matlab_in_double():
    # From the same file: imresize(cat(3, [10, 6], [10, 6], [10, 6]), [3, 3], "cubic").
    row = np.repeat(np.array([[[10.0], [6.0]]]), 3, axis=2)
    expected = [10.27777777777777, 8, 5.72222222222222]
    np.testing.assert_allclose(bicubic_resize(row, 1.5)[0, :, 0], expected, atol=1e-13)
