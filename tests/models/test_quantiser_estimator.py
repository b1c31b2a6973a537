"""What frames show of how coarsely a codec has quantised them, by the weights that ship."""

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


def test_frames_that_no_codec_has_touched(clean):
    assert step_of_frames(clean) < FAINTEST
    noisy = clean + np.random.default_rng(0).normal(0, 4, clean.shape)
    assert step_of_frames(noisy.clip(0, 255).round().astype(np.uint8)) < FAINTEST


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


def test_steps_are_quarters_of_doublings_from_one_on():
    torch.manual_seed(0)
    net = QuantiserEstimator(4).eval()
    frame = np.random.default_rng(0).integers(0, 256, (17, 23, 3), dtype=np.uint8)
    for value, step in ((-3.0, 1.0), (3.1, 8.0), (3.2, 2**3.25)):
        torch.nn.init.zeros_(net.conv_last.weight)
        net.conv_last.bias.data = torch.tensor([value, 0.5])
        assert net.step([frame]) == step


def test_places_count_by_how_sure_they_are():
    doublings = torch.tensor([[[[1.0, 3.0]]]])
    sure_of_the_first = torch.tensor([[[[-np.log(3.0), 0.0]]]])
    assert float(mean_doublings(doublings, sure_of_the_first)) == pytest.approx((3 * 1 + 3) / 4)


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
