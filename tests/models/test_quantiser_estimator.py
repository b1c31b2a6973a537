"""What frames show of how coarsely a codec has quantised them, by the weights that ship."""

import cv2
import numpy as np
import pytest
import torch

from vsr_plugin.data.degraded_clip import read_frames
from vsr_plugin.data.footage.codecs import encode_and_decode
from vsr_plugin.models.quantiser_estimator import (
    FAINTEST,
    SHIPPED_ESTIMATOR,
    QuantiserEstimator,
    mean_doublings,
    step_of_frames,
)
from vsr_plugin.ops.resize import bicubic_downsample
from vsr_plugin.weights import load_net


@pytest.fixture(scope="module")
def clean():
    """Small frames of a clip that no codec has touched."""
    frames = read_frames("carphone_pristine", start=30, num_frames=6)
    return np.stack([bicubic_downsample(frame[:144, :176], 2) for frame in frames])


def test_weights_that_ship_are_recognised():
    net = load_net(SHIPPED_ESTIMATOR)
    assert isinstance(net, QuantiserEstimator)
    assert not net.training


def noisy(clip):
    return (clip + np.random.default_rng(0).normal(0, 4, clip.shape)).clip(0, 255).round().astype(np.uint8)


def grey(clip):
    luma = clip.astype(float) @ [0.299, 0.587, 0.114]
    return np.repeat(luma.round().astype(np.uint8)[..., None], 3, axis=-1)


def half_colours(clip):
    """Colours of half the size, as nearly all video has them."""
    small = clip.astype(np.float32)[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2)
    return (grey(clip) + small - grey(small)).clip(0, 255).round().astype(np.uint8)


def sepia(clip):
    return (grey(clip) * [1.0, 0.85, 0.65]).round().astype(np.uint8)


def squares(clip):
    return clip.repeat(4, axis=1).repeat(4, axis=2)


def written(clip):
    page = np.full_like(clip[:1], 255)
    for y in range(12, 80, 14):
        cv2.putText(page[0], "lines of text", (3, y), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (10, 10, 30), 1, cv2.LINE_AA)
    return page


@pytest.mark.parametrize("change", [np.array, noisy, grey, sepia, half_colours, squares, written])
def test_frames_that_no_codec_has_touched(clean, change):
    assert step_of_frames(change(clean)) < FAINTEST


@pytest.mark.parametrize("change", [np.array, grey])
def test_black_frames_say_nothing(clean, change):
    coarse = encode_and_decode(change(clean), "mpeg4", quality=12).frames
    without = step_of_frames(coarse)
    assert without >= FAINTEST
    assert step_of_frames([*np.zeros_like(coarse), *coarse]) == without
    assert step_of_frames(np.zeros_like(coarse)) is None


@pytest.mark.parametrize("codec", ["mjpeg", "mpeg4"])
def test_coarser_quantisers_look_coarser(clean, codec):
    told, looks = [], []
    for quality in (4, 8, 20):
        decoded = encode_and_decode(clean, codec, quality=quality)
        told.append(decoded.quantiser_step)
        looks.append(step_of_frames(decoded.frames))
    assert looks == sorted(set(looks))
    assert all(0.4 <= look / step <= 2.5 for look, step in zip(looks, told, strict=True))


def test_traces_of_a_coarse_codec_stay_in_a_fine_copy(clean):
    coarse = encode_and_decode(clean, "mpeg4", quality=10)
    copy = encode_and_decode(coarse.frames, "h264", quality=12)
    assert copy.quantiser_step < FAINTEST <= step_of_frames(copy.frames)


def test_steps_are_quarters_of_doublings_within_what_codecs_have():
    torch.manual_seed(0)
    net = QuantiserEstimator(4).eval()
    frame = np.random.default_rng(0).integers(0, 256, (17, 23, 3), dtype=np.uint8)
    for value, step in ((-3.0, 1.0), (3.1, 8.0), (3.2, 2**3.25), (17.0, 2**6.75)):
        torch.nn.init.zeros_(net.conv_last.weight)
        net.conv_last.bias.data = torch.tensor([value, 0.5])
        assert net.step([frame]) == step


def test_places_count_by_how_sure_they_are(monkeypatch):
    net = QuantiserEstimator(4)
    two = torch.tensor([[[[1.0, 5.0]]]]), torch.tensor([[[[-np.log(3.0), 0.0]]]])
    monkeypatch.setattr(net, "forward", lambda frames: two)
    assert float(mean_doublings(*two)) == pytest.approx((3 * 1 + 5) / 4)
    assert net.step([np.zeros((8, 16, 3), np.uint8)]) == 2**2


def test_nothing_to_look_at():
    assert step_of_frames([]) is None
    assert step_of_frames([np.zeros((7, 40, 3), np.uint8)]) is None


def test_large_frames_are_looked_at_in_their_middle(clean):
    net, middle = load_net(SHIPPED_ESTIMATOR), np.tile(clean[0], (8, 6, 1))
    around = np.pad(middle[:512, :512], ((40, 40), (30, 30), (0, 0)))
    assert net.step([around]) == net.step([middle[:512, :512]])


@pytest.mark.parametrize("sides", [(8, 8), (9, 15), (33, 40)])
def test_any_size(sides):
    net = QuantiserEstimator(4)
    frames = torch.rand(2, 3, *sides)
    doublings, log_scale = net(frames)
    assert doublings.shape == log_scale.shape == (2, 1, -(-sides[0] // 8), -(-sides[1] // 8))
