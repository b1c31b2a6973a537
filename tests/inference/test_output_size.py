"""Outputs of another size than the network gives: those pixels, resized before they are rounded."""

import math
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from vsr_plugin.errors import MediaError, VSRError
from vsr_plugin.evaluation import frame_quality
from vsr_plugin.inference import restore_frames
from vsr_plugin.inference.output_size import OutputSize, fitted
from vsr_plugin.inference.planning import MemoryModel, make_plan
from vsr_plugin.media import Orientation, open_source
from vsr_plugin.models import BasicVSRPlusPlusNet
from vsr_plugin.ops.resize import bicubic_resize
from vsr_plugin.restoration import RestoreOptions, restore_video


def clip_of(t: int, h: int = 9, w: int = 13) -> list[torch.Tensor]:
    """Frames that use the range to its ends, so that the network's output leaves it."""
    return list(torch.rand(t, 3, h, w, generator=torch.Generator().manual_seed(t)).mul(1.6).sub(0.3).clamp(0, 1))


def native(net, clip: list[torch.Tensor]) -> torch.Tensor:
    """What the network gives, neither clipped nor rounded."""
    with torch.no_grad():
        return net(torch.stack(clip)[None])[0]


def resized(hrs: torch.Tensor, rows: int, columns: int) -> np.ndarray:
    """``(t, rows, columns, 3)``, resized in float64 with weights that are computed pixel by pixel here."""

    def weights(length: int, count: int) -> np.ndarray:
        matrix = np.zeros((count, length))
        stretch = max(1, length / count)
        for i in range(count):
            centre = (i + 0.5) * length / count - 0.5
            for j in range(math.floor(centre - 2 * stretch) - 1, math.ceil(centre + 2 * stretch) + 2):
                x = abs(centre - j) / stretch
                near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
                k = j % (2 * length)
                matrix[i, k if k < length else 2 * length - 1 - k] += near if x <= 1 else far if x <= 2 else 0
        return matrix / matrix.sum(1, keepdims=True)

    values = hrs.double().numpy()
    values = np.einsum("ij,tcjw->tciw", weights(hrs.shape[-2], rows), values)
    return np.einsum("ij,tchj->thic", weights(hrs.shape[-1], columns), values)


@pytest.mark.parametrize(
    ("asked", "h", "w", "size"),
    [
        (dict(), 9, 13, (36, 52)),
        (dict(scale=2), 9, 13, (18, 26)),
        (dict(scale=1.5), 9, 13, (14, 20)),  # 13.5 and 19.5
        (dict(scale=Fraction(4, 3)), 810, 1440, (1080, 1920)),
        (dict(scale=np.float32(3)), 5, 7, (15, 21)),
        (dict(scale=0.01), 9, 13, (1, 1)),
        (dict(height=1080), 720, 1280, (1080, 1920)),
        (dict(height=720), 480, 854, (720, 1282)),  # 1281: the even number next to it
        (dict(height=720), 480, 853, (720, 1280)),  # 1279.5
        (dict(height=15), 10, 15, (15, 23)),  # odd already, so 22.5 may be rounded to what is odd
        (dict(height=2), 1000, 1, (2, 2)),
        (dict(height=np.int64(36)), 9, 13, (36, 52)),
    ],
)
def test_sizes_in_pixels(asked, h, w, size):
    assert OutputSize(**asked).of(h, w, 4) == size


def test_the_size_follows_the_network():
    assert [OutputSize().of(9, 13, scale) for scale in (2, 3, 8)] == [(18, 26), (27, 39), (72, 104)]
    assert {OutputSize(scale=2).of(9, 13, scale) for scale in (2, 3, 8)} == {(18, 26)}


@pytest.mark.parametrize(("transpose", "size"), [(False, (36, 54)), (True, (24, 36))])
def test_height_is_that_of_the_picture_as_it_is_shown(transpose, size):
    class Source:
        height, width, orientation = 8, 12, Orientation(transpose=transpose)

    assert OutputSize(height=36).of_source(Source, 4) == size
    assert OutputSize(scale=1.5).of_source(Source, 4) == (12, 18)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (dict(scale=0), "scale must be a number above 0, such as 2 or 1.5, got 0"),
        (dict(scale=-2.0), "got -2.0"),
        (dict(scale=math.nan), "got nan"),
        (dict(scale=math.inf), "got inf"),
        (dict(scale="2"), "got '2'"),
        (dict(height=0), "height must be a whole number of pixels, 1 or more, got 0"),
        (dict(height=1080.5), "got 1080.5"),
        (dict(scale=2, height=1080), "scale 2 and height 1080 both set the size of the output; give only one"),
        (dict(scale=10000), "scale 10000 makes a side of more than 65535 pixels of frames of 13x9; choose less"),
        (dict(scale=1e308), "scale 1e\\+308 makes a side"),
        (dict(height=10**9), "height 1000000000 makes a side"),
    ],
)
def test_sizes_that_cannot_be(small_net, asked, message):
    with pytest.raises(VSRError, match=message):
        next(restore_frames(small_net, clip_of(1), **asked))
    if "makes a side" not in message:
        with pytest.raises(VSRError, match=message):
            RestoreOptions(**asked)


@pytest.mark.parametrize(("asked", "words"), [(dict(scale=2), "scale 2"), (dict(height=10), "height 10")])
def test_weights_that_restore_at_the_size_do_not_enlarge(asked, words):
    net = BasicVSRPlusPlusNet(8, 1, is_low_res_input=False, spynet_width=4).eval()
    with pytest.raises(VSRError, match=f"^{words} enlarges frames of 13x9, which these weights restore at their size;"):
        next(restore_frames(net, clip_of(1), **asked))
    assert next(restore_frames(net, clip_of(1), scale=0.5)).shape[-2:] == (5, 7)
    assert next(restore_frames(net, clip_of(1), height=9)).shape[-2:] == (9, 13)
    assert next(restore_frames(net, clip_of(1), shrink=2)).shape[-2:] == (4, 6)


SIZES = [
    (dict(scale=2), (18, 26)),
    (dict(scale=1.5), (14, 20)),
    (dict(scale=3), (27, 39)),
    (dict(scale=5.5), (50, 72)),
    (dict(scale=1), (9, 13)),
    (dict(scale=0.5), (5, 7)),
    (dict(height=22), (22, 32)),
    (dict(height=41), (41, 59)),
]


@pytest.mark.parametrize(("asked", "size"), SIZES, ids=str)
def test_frames_are_those_of_the_network_resized_before_they_are_rounded(either_net, asked, size):
    clip = [(frame * 255).round() / 255 for frame in clip_of(5)]
    hrs = native(either_net, clip)
    assert hrs.min() < -0.01 or hrs.max() > 1.01  # so that clipping before or after resizing differs
    expected = resized(hrs, *size).clip(0, 1)
    for hr, want in zip(restore_frames(either_net, clip, **asked), expected, strict=True):
        assert hr.is_contiguous()
        np.testing.assert_allclose(hr.permute(1, 2, 0), want, atol=1e-5)
    for dtype, step in ((np.uint8, 255), (np.uint16, 65535)):
        arrays = [(frame.permute(1, 2, 0).numpy() * 255).round().astype(dtype) * (step // 255) for frame in clip]
        for hr, want in zip(restore_frames(either_net, arrays, **asked), expected, strict=True):
            assert (hr.dtype, hr.shape) == (dtype, (*size, 3))
            assert np.abs(hr - want * step).max() <= 0.5 + 1e-5 * step


def test_autocast_of_the_caller_does_not_reach_resizing(small_net):
    clip, array = list(torch.rand(2, 3, 9, 13)), np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)
    asked = dict(scale=1.5, strength=0.7)
    expected, resized = list(restore_frames(small_net, clip, **asked)), bicubic_resize(array, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(map(torch.equal, restore_frames(small_net, clip, **asked), expected))
        assert np.array_equal(bicubic_resize(array, 2), resized)


def test_exactly_the_resampler_of_the_degradations(small_net):
    clip = clip_of(3)
    expected = bicubic_resize(native(small_net, clip), 0.5).clamp(0, 1)
    torch.testing.assert_close(torch.stack(list(restore_frames(small_net, clip, scale=2))), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("asked", [dict(scale=4), dict(height=36)], ids=str)
@pytest.mark.parametrize("strategy", [dict(), dict(strategy="window", window=3, overlap=2)], ids=str)
def test_the_size_of_the_network_changes_nothing(small_net, monkeypatch, asked, strategy):
    clip = clip_of(9)
    expected = list(restore_frames(small_net, clip, **strategy))
    hr = torch.rand(3, 36, 52)
    assert fitted(hr, (36, 52)) is hr
    monkeypatch.setattr("vsr_plugin.inference.output_size.bicubic_resize", None)
    for frame, want in zip(restore_frames(small_net, clip, **strategy, **asked), expected, strict=True):
        assert torch.equal(frame, want)


@pytest.mark.parametrize("scale", [2, 1.5, 6])
def test_strategies_scene_cuts_and_tiles_agree(small_net, tmp_path, scale):
    clip = clip_of(12, 20, 24)
    whole = torch.stack(list(restore_frames(small_net, clip, scale=scale)))
    for options in (
        dict(strategy="exact", work_dir=str(tmp_path)), dict(strategy="window", window=12), dict(tile=28),
        dict(scene_cuts=True),
    ):  # fmt: skip
        other = torch.stack(list(restore_frames(small_net, clip, scale=scale, **options)))
        torch.testing.assert_close(other, whole, atol=1e-5, rtol=0)


def test_windows_blend_at_the_size_of_the_output(small_net):
    clip = [frame * 0.2 + 0.4 for frame in clip_of(31)]
    options = dict(strategy="window", window=10, overlap=4)
    large = torch.stack(list(restore_frames(small_net, clip, **options)))
    assert (large > 0).all()
    assert (large < 1).all()  # else clipping before resizing, as here, would differ
    small = torch.stack(list(restore_frames(small_net, clip, scale=1.5, **options)))
    np.testing.assert_allclose(small.permute(0, 2, 3, 1), resized(large, 14, 20), atol=4e-5)  # 16 bits, twice


def test_memory_of_the_size_is_counted(small_net):
    def model(output=None):
        return MemoryModel(small_net, 180, 320, output=output)

    plain, same, half, double = (model(size) for size in (None, (720, 1280), (360, 640), (1440, 2560)))
    assert same.working(None) == plain.working(None)
    assert plain.working(None) < half.working(None) < double.working(None)
    # A frame, and what resizing it adds, with and without tiles.
    assert double.working(64) - plain.working(64) > 3 * 1440 * 2560 * 3 * 4
    budget = plain.working(None) + 80 * plain.per_frame
    assert [make_plan(m, budget, num_frames=80).strategy for m in (plain, double)] == ["whole", "exact"]
    with pytest.raises(VSRError, match=r"too small for frames of 320x180 resized to 2560x1440; give at least \d+ MiB"):
        make_plan(double, 300 * 2**20, num_frames=5)
    with pytest.raises(VSRError, match=r"frames of 320x180; give"):
        make_plan(same, 300 * 2**20, num_frames=5)


@pytest.fixture
def folder(tmp_path):
    """Six images of 8 x 14, one with transparency, and 16-bit ones beside them."""
    rng = np.random.default_rng(0)
    for name in ("in", "deep"):
        (tmp_path / name).mkdir()
    for i in range(6):
        rgb = cv2.resize(rng.integers(0, 256, (3, 5, 3), np.uint8), (14, 8), interpolation=cv2.INTER_CUBIC)
        alpha = rng.integers(0, 256, (8, 14), np.uint8)
        Image.fromarray(np.dstack((rgb, alpha)) if i == 2 else rgb).save(tmp_path / "in" / f"{i}.png")
        cv2.imwrite(str(tmp_path / "deep" / f"{i}.png"), rgb.astype(np.uint16) * 257)
    return tmp_path


def images(path) -> list[np.ndarray]:
    with open_source(path) as source:
        return [frame.rgb for frame in source.frames()]


@pytest.mark.parametrize(("asked", "size"), [(dict(scale=1.5), (12, 21)), (dict(height=18), (18, 32))], ids=str)
@pytest.mark.parametrize("name", ["in", "deep"])
def test_files_have_the_pixels_of_the_generator(small_net, folder, name, asked, size):
    restore_video(folder / name, folder / "out", small_net, RestoreOptions(**asked))
    expected = restore_frames(small_net, images(folder / name), **asked)
    for written, want in zip(images(folder / "out"), expected, strict=True):
        assert written.shape == (*size, 3)
        assert np.array_equal(written, want)
    if name == "in":
        alpha = np.asarray(Image.open(folder / "in" / "2.png"))[..., 3:].repeat(3, 2)
        found = np.asarray(Image.open(folder / "out" / "2.png"))
        assert np.array_equal(found[..., 3], bicubic_resize(alpha, size)[..., 0])


def test_ground_truth_has_the_size_of_the_output(small_net, folder):
    gt = folder / "gt"
    gt.mkdir()
    for i, lr in enumerate(images(folder / "in")):
        Image.fromarray(lr.repeat(2, 0).repeat(2, 1)).save(gt / f"{i}.png")
    message = "gt: ground truth of 28x16 does not fit: the input is 14x8, so it must be {}, the size of the output"
    with pytest.raises(MediaError, match=message.format("56x32")):
        restore_video(folder / "in", folder / "out", small_net, RestoreOptions(gt=gt))
    with pytest.raises(MediaError, match=message.format("42x24")):
        restore_video(folder / "in", folder / "out", small_net, RestoreOptions(gt=gt, scale=3))
    picture = folder / "picture.png"
    options = RestoreOptions(gt=gt, scale=2, comparison=picture)
    rows = restore_video(folder / "in", folder / "out", small_net, options).quality.rows
    for row, lr, hr, true in zip(rows, *map(images, (folder / "in", folder / "out", gt)), strict=True):
        assert row["psnr"] == pytest.approx(frame_quality(hr, true)[0], abs=1e-9)
        assert row["bicubic_psnr"] == pytest.approx(frame_quality(bicubic_resize(lr, 2), true)[0], abs=1e-9)
    assert Image.open(picture).width == 1280
