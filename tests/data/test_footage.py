"""Degradations of real footage: what each does to frames, and that all of it follows from the seed."""

from dataclasses import replace

import numpy as np
import pytest

from vsr_plugin.data.clip_dataset import ClipDataset
from vsr_plugin.data.clips.packed import PackedWriter
from vsr_plugin.data.degraded_clip import read_frames
from vsr_plugin.data.footage import PRESETS, degrade_footage
from vsr_plugin.data.footage.codecs import CODINGS, VideoCodec, through_codec
from vsr_plugin.data.footage.noise import JPEG, GaussianNoise, PoissonNoise
from vsr_plugin.data.footage.optics import BicubicResize, Blur, Resize, Ringing, Sharpening, blur_kernel, sinc_kernel
from vsr_plugin.data.footage.step import Clip, InOrder, OneOf, Sometimes, Step, walk
from vsr_plugin.data.footage.tape import InterlacingLeftOver, Tape
from vsr_plugin.data.sampling import SeededIndex
from vsr_plugin.data.transforms import DegradeFootage, PackInputs
from vsr_plugin.errors import MediaError
from vsr_plugin.ops.resize import bicubic_downsample

STEPS = (
    Blur(),
    Ringing(),
    Sharpening(),
    Resize(),
    BicubicResize(0.5),
    GaussianNoise(),
    PoissonNoise(),
    JPEG(),
    Tape(),
    InterlacingLeftOver(),
)


@pytest.fixture(scope="module")
def clip():
    return np.stack([frame[:66, :97] for frame in read_frames("bikes", start=30, num_frames=5)])


def psnr(a, b):
    return 10 * np.log10(255**2 / ((a.astype(float) - b) ** 2).mean())


@pytest.mark.parametrize("kind", ["gaussian", "generalized", "plateau"])
def test_blur_kernels(kind):
    kernel = blur_kernel(15, 2.5, 1.0, 0.0, kind=kind, beta=1.3)
    assert kernel.sum() == pytest.approx(1)
    assert kernel.argmax() == kernel.size // 2
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-7)
    across, along = (np.sqrt((kernel.sum(axis=axis) * np.arange(-7, 8) ** 2).sum()) for axis in (1, 0))
    assert along > across


def test_angles_turn_kernels():
    np.testing.assert_allclose(blur_kernel(11, 2, 1, np.pi / 2), blur_kernel(11, 1, 2), atol=1e-6)


def test_unknown_kernel():
    with pytest.raises(ValueError, match="got 'box'"):
        blur_kernel(7, 1, 1, kind="box")


def test_sinc_kernel_passes_low_frequencies_only():
    kernel = sinc_kernel(21, np.pi / 2)
    response = np.abs(np.fft.fft2(kernel, (64, 64)))
    assert response[0, 0] == pytest.approx(1, abs=1e-5)
    assert response[0, 5] == pytest.approx(1, abs=0.15)
    assert response[0, 30] < 0.05


def test_walk_stays_within_its_bounds_and_is_slow():
    path = walk(np.random.default_rng(0), (2.0, 6.0), 500, step=0.1)
    assert 2 <= path.min() < 3
    assert 5 < path.max() <= 6
    assert np.abs(np.diff(path)).max() <= 0.1 * 4 + 1e-9
    assert np.all(walk(np.random.default_rng(0), (3.0, 3.0), 5) == 3)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_steps_follow_from_the_seed_and_leave_their_input(step, clip):
    frames = clip.astype(np.float32) / 255
    before = frames.copy()
    for seed in range(4):
        once, again = (step(frames, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(once, again)
        assert once.dtype == np.float32
        assert len(once) == len(frames)
        assert np.isfinite(once).all()
    np.testing.assert_array_equal(frames, before)


@pytest.mark.parametrize("noise", [GaussianNoise(sigma=(10, 10), grey=0), PoissonNoise(scale=(1, 1), grey=0)])
def test_noise_has_its_strength(noise):
    frames = np.full((4, 64, 64, 3), 0.25, np.float32)
    difference = noise(frames, np.random.default_rng(1)) - frames
    expected = 10 / 255 if isinstance(noise, GaussianNoise) else np.sqrt(0.25 / 255)
    assert difference.std() == pytest.approx(expected, rel=0.03)
    assert abs(np.corrcoef(difference[0, ..., 0].ravel(), difference[0, ..., 1].ravel())[0, 1]) < 0.1


def test_grey_noise_is_the_same_in_all_channels():
    difference = GaussianNoise(sigma=(5, 5), grey=1)(np.zeros((2, 8, 8, 3), np.float32), np.random.default_rng(0))
    np.testing.assert_array_equal(difference[..., 0], difference[..., 2])


def test_combinations():
    class Add(Step):
        def __init__(self, value):
            self.value = value

        def __call__(self, frames, rng):
            return 2 * frames + self.value

    zero, rng = np.zeros(1), np.random.default_rng(0)
    assert InOrder((Add(1), Add(3)))(zero, rng) == 5
    assert {float(InOrder((Add(1), Add(3)), shuffled=True)(zero, rng)[0]) for _ in range(20)} == {5, 7}
    assert {float(OneOf((Add(1), Add(2)), (1, 0))(zero, rng)[0]) for _ in range(9)} == {1}
    assert Sometimes(0, Add(1))(zero, rng) == 0
    assert Sometimes(1, Add(1))(zero, rng) == 1


@pytest.mark.parametrize("codec", CODINGS)
def test_codecs_lose_what_their_quality_says(codec, clip):
    good, bad = (
        through_codec(clip, codec, quality=q) for q in ((18, 38) if codec in ("h264", "hevc", "vp9") else (2, 20))
    )
    assert good.shape == clip.shape
    assert good.dtype == np.uint8
    if codec == "cinepak":  # it has no quality
        assert 20 < psnr(good, clip) < 45
    else:
        assert psnr(good, clip) > 31
        assert psnr(bad, clip) < psnr(good, clip) - 3


@pytest.mark.parametrize("side", [10, 48])
@pytest.mark.parametrize("codec", CODINGS)
def test_small_frames(codec, side, clip):
    small = clip[:3, :side, :side]
    result = through_codec(small, codec, quality=6)
    assert result.shape == small.shape
    assert psnr(small, result) > 15


@pytest.mark.parametrize("codec", ["mpeg2", "mpeg4", "h264"])
def test_more_bits_give_better_frames(codec):
    frames = read_frames("bikes", start=30, num_frames=12)
    clip = np.stack([bicubic_downsample(frame, 2)[:128, :160] for frame in frames])
    rates = [psnr(through_codec(clip, codec, bit_rate=rate, gop=12), clip) for rate in (0.05, 0.2, 0.8)]
    assert rates == sorted(rates)
    assert rates[-1] > rates[0] + 8


def test_h264_is_the_same_from_run_to_run(clip):
    options = dict(preset="medium", bf="3")
    first, *others = (through_codec(clip, "h264", quality=24, options=options) for _ in range(4))
    assert all(np.array_equal(first, other) for other in others)


def test_frames_come_in_their_order(clip):
    decoded = through_codec(clip, "mpeg2", quality=3, options={"bf": "2"})
    assert all(psnr(a, b) > 30 for a, b in zip(decoded, clip, strict=True))


def test_absent_encoder(clip, monkeypatch):
    absent = CODINGS["h264"].__class__("libnone", "h264", {})
    monkeypatch.setitem(CODINGS, "h264", absent)
    with pytest.raises(MediaError, match="no encoder libnone"):
        through_codec(clip, "h264", quality=20)


def test_unknown_codec(clip):
    with pytest.raises(ValueError, match="got 'av9'"):
        through_codec(clip, "av9", quality=20)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("scale", [1, 4])
def test_presets(preset, scale, clip):
    frames = list(clip[:3, :64, :96])
    clips = [degrade_footage(frames, preset, np.random.default_rng(seed), scale=scale) for seed in (5, 5, 6)]
    assert clips[0].quantiser_step == clips[1].quantiser_step
    once, again, other = (made.frames for made in clips)
    assert len(once) == 3
    assert all(frame.shape == (64 // scale, 96 // scale, 3) and frame.dtype == np.uint8 for frame in once)
    np.testing.assert_array_equal(once, again)
    # With scale 1 nothing is left of a preset that only makes frames small.
    is_clean = preset == "clean" or (preset == "reduced" and scale == 1)
    assert is_clean == np.array_equal(once, other)
    if is_clean and scale == 1:
        np.testing.assert_array_equal(once, frames)


def test_the_last_codec_of_realbasicvsr_comes_before_the_final_size_or_after_all(clip, monkeypatch):
    order = []

    class Noted(Step):
        def __init__(self, name):
            self.name = name

        def __call__(self, frames, rng):
            order.append((self.name, frames.shape[1:3]))
            return frames

    noted = replace(PRESETS["realbasicvsr"], capture=Noted("capture"), storage=Noted("end"), either_side=Noted("codec"))
    monkeypatch.setitem(PRESETS, "realbasicvsr", noted)
    seen = set()
    for seed in range(12):
        degrade_footage(list(clip[:2, :64, :96]), "realbasicvsr", np.random.default_rng(seed), scale=4)
        seen.add(tuple(order))
        order.clear()
    large, small = (64, 96), (16, 24)
    assert seen == {
        (("capture", large), ("codec", large), ("end", small)),
        (("capture", large), ("end", small), ("codec", small)),
    }


def test_bits_of_a_frame_are_those_asked_for_whatever_its_size(monkeypatch):
    asked = []

    def note(frames, codec, **options):
        asked.append(options["bit_rate"] * frames.shape[1] * frames.shape[2])
        return Clip(frames)

    monkeypatch.setattr("vsr_plugin.data.footage.codecs.encode_and_decode", note)
    codec = VideoCodec("h264", by_rate=1.0, bits_per_frame=(1e4, 1e5))
    for side in (16, 64, 256):
        codec(np.zeros((1, side, side, 3), np.float32), np.random.default_rng(0))
    assert asked == pytest.approx([asked[0]] * 3)
    assert 1e4 <= asked[0] <= 1e5


def test_a_clip_tells_of_its_codec_only_if_that_came_last(clip):
    frames, rng = clip[:3, :48, :64], np.random.default_rng(0)
    mpeg = VideoCodec("mpeg2", quality=(5, 5))
    assert mpeg.degrade(Clip(frames), rng).quantiser_step == 10
    again = InOrder((VideoCodec("mpeg4", quality=(9, 9)), Sometimes(1.0, OneOf((mpeg,), (1,)))))
    assert again.degrade(Clip(frames), rng).quantiser_step == 10
    assert InOrder((mpeg, JPEG(quality=(90, 90)))).degrade(Clip(frames), rng).quantiser_step is None


def test_the_coarsest_codec_is_what_frames_show(clip):
    frames, rng = Clip(clip[:3, :48, :64]), np.random.default_rng(0)
    coarse, fine = (VideoCodec("mpeg4", quality=(q, q)) for q in (9, 3))
    assert frames.coarsest_step == 1
    assert GaussianNoise().degrade(frames, rng).coarsest_step == 1
    for steps in ((coarse, fine), (fine, coarse)):
        last = steps[1].quality[0] * 2
        through = InOrder(steps).degrade(frames, rng)
        assert (through.quantiser_step, through.coarsest_step) == (last, 18)
    # What happens to frames later on hides it, and who does not tell may have been the coarsest.
    for step in (GaussianNoise(), JPEG()):
        assert InOrder((coarse, step)).degrade(frames, rng).coarsest_step is None
    assert InOrder((VideoCodec("cinepak"), fine)).degrade(frames, rng).coarsest_step is None


def test_presets_of_converted_and_of_uncompressed_footage(clip):
    told = [degrade_footage(list(clip), "copied", np.random.default_rng(seed)) for seed in range(12)]
    assert all(each.coarsest_step >= each.quantiser_step for each in told)
    assert np.mean([each.coarsest_step > 1.5 * each.quantiser_step for each in told]) > 0.5
    film = degrade_footage(list(clip), "film", np.random.default_rng(0))
    assert (film.quantiser_step, film.coarsest_step) == (None, 1)


def test_rounds_come_in_any_order(clip, monkeypatch):
    """The codec of the preset `unknown` is not always what came last."""
    last = [degrade_footage(list(clip), "unknown", np.random.default_rng(seed)).quantiser_step for seed in range(12)]
    assert 2 <= sum(step is None for step in last) <= 10


def test_transform_says_how_coarsely_frames_are_quantised(clip):
    sample = DegradeFootage(presets="dvd", scale=1, seed=3)(dict(gt=list(clip)))
    packed = PackInputs()(sample)["data_samples"]
    assert packed.quantiser_step == packed.coarsest_step == sample["quantiser_step"] > 1
    clean = DegradeFootage(presets="clean", scale=1)(dict(gt=list(clip)))
    assert (clean["quantiser_step"], clean["coarsest_step"]) == (None, 1)


@pytest.mark.parametrize("steps", [(2, 18), (18, 255)])
def test_footage_of_one_coarseness(clip, steps):
    transform = DegradeFootage(presets="web", scale=1, quantiser_steps=steps)
    told = [transform(dict(gt=list(clip)))["quantiser_step"] for _ in range(6)]
    assert len(set(told)) > 1
    assert all(steps[0] <= step <= steps[1] for step in told)
    # What does not tell is taken as it comes.
    unknown = DegradeFootage(presets="clean", scale=1, quantiser_steps=steps)(dict(gt=list(clip)))
    np.testing.assert_array_equal(unknown["img"], clip)
    with pytest.raises(ValueError, match="the least and the most"):
        DegradeFootage(presets="web", quantiser_steps=(18, 2))


def test_unknown_preset():
    with pytest.raises(ValueError, match="got 'cinema'"):
        degrade_footage([np.zeros((8, 8, 3), np.uint8)], "cinema", np.random.default_rng(0))
    with pytest.raises(ValueError, match="got 'cinema'"):
        DegradeFootage(presets=dict(web=1, cinema=1))


def test_transform_draws_from_the_global_generator_or_its_own(clip):
    transform, fixed = DegradeFootage(presets="web", scale=1), DegradeFootage(presets="web", scale=1, seed=3)

    def made(by, seed):
        np.random.seed(seed)
        return np.stack(by(dict(gt=list(clip)))["img"])

    np.testing.assert_array_equal(made(transform, 1), made(transform, 1))
    assert not np.array_equal(made(transform, 1), made(transform, 2))
    np.testing.assert_array_equal(made(fixed, 1), made(fixed, 2))


def test_data_set_leaves_lr_to_its_pipeline(clip, tmp_path):
    for name in "ab":
        with PackedWriter(tmp_path / f"{name}.npy", height=66, width=97) as writer:
            for frame in clip:
                writer.write(frame)
    seen = []
    dataset = ClipDataset(
        gt_root=tmp_path,
        degradation="pipeline",
        scale=1,
        num_input_frames=3,
        gt_size=32,
        pipeline=[lambda sample: seen.append(set(sample)) or sample, DegradeFootage(presets="dvd", scale=1)],
    )
    sample, again = (dataset[SeededIndex(1, seed=7)] for _ in range(2))
    assert "img" not in seen[0]
    np.testing.assert_array_equal(sample["img"], again["img"])
    assert np.stack(sample["gt"]).shape == np.stack(sample["img"]).shape == (3, 32, 32, 3)


def test_reduced_footage_counts_as_if_no_codec_had_touched_it(clip):
    coded = VideoCodec("mpeg4", quality=(9, 9)).degrade(Clip(clip[:2, :48, :64]), np.random.default_rng(0))
    half = BicubicResize(0.5).degrade(coded, np.random.default_rng(0))
    assert half.frames.shape == (2, 24, 32, 3)
    assert (half.quantiser_step, half.coarsest_step) == (None, 1)
    assert BicubicResize(0.75).degrade(coded, np.random.default_rng(0)).coarsest_step is None
    reduced = degrade_footage(list(clip[:, :64, :96]), "reduced", np.random.default_rng(0), scale=2)
    assert reduced.frames.shape == (5, 32, 48, 3)
    assert (reduced.quantiser_step, reduced.coarsest_step) == (None, 1)
    assert np.abs(reduced.frames - bicubic_downsample(clip[:, :64, :96], 2).astype(float)).mean() > 0.3
