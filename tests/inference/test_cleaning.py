"""Cleaning in streams: the same as whole sequences, whatever is kept where."""

import numpy as np
import pytest
import torch

from vsr_plugin.data.degraded_clip import read_frames
from vsr_plugin.data.footage.codecs import through_codec
from vsr_plugin.inference import cleaning as stream
from vsr_plugin.inference import restore_frames
from vsr_plugin.inference.cleaning import clean_in_bands, clean_sequence
from vsr_plugin.models import BasicVSRNet
from vsr_plugin.models.cleaning import Cleaning, FootageCleaning, clean_by, told, with_cleaning
from vsr_plugin.models.quantiser_estimator import step_of_frames
from vsr_plugin.ops.resize import bicubic_downsample


def footage_cleaning(**arguments):
    cleaning = FootageCleaning(mid_channels=8, num_blocks=1, **arguments)
    torch.nn.init.normal_(cleaning.conv_last.weight, std=0.05)
    return cleaning.eval()


class Halving(Cleaning):
    """Takes half of every pixel away, so that the mean residue is half of what it was before."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.factor = torch.nn.Parameter(torch.tensor(-0.5))

    def residue(self, windows):
        return self.factor * windows[:, self.radius]


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    made = BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=8).eval()
    return with_cleaning(made, footage_cleaning())


def clip(t, h=18, w=23):
    return [np.random.default_rng(i).integers(0, 256, (h, w, 3), dtype=np.uint8) for i in range(t)]


def tensors(frames):
    return torch.stack([torch.from_numpy(f).permute(2, 0, 1) for f in frames])[None].float() / 255


@pytest.mark.parametrize("in_memory", [0, 100])
def test_streamed_is_whole(in_memory, tmp_path):
    cleaning, frames = footage_cleaning(), clip(5)
    with torch.no_grad():
        whole = cleaning(tensors(frames))[0]
    cleaned = clean_sequence(cleaning, frames, tmp_path, in_memory)
    for i in (4, 2, 0, 3, 1, 2):  # sweeps ask in any order
        torch.testing.assert_close(cleaned[i], whole[i], rtol=0, atol=1e-6)
    cleaned.close()
    assert (tmp_path / "cleaned" / "cleaned.bin").exists() == (in_memory == 0)


@pytest.mark.parametrize("t", [1, 2, 7])
@pytest.mark.parametrize("strategy", ["whole", "exact"])
def test_restored_frames_are_those_of_the_network(net, t, strategy):
    frames = clip(t)
    with torch.no_grad():
        expected = net(tensors(frames))[0].clamp(0, 1)
    restored = torch.stack(list(restore_frames(net, list(tensors(frames)[0]), strategy=strategy)))
    torch.testing.assert_close(restored, expected, rtol=0, atol=1e-5)


def test_cleaning_matters_and_stays_apart(net):
    plain = with_cleaning(net, None)
    assert plain.cleaning is None
    assert net.cleaning is not None
    frames = tensors(clip(2))
    with torch.no_grad():
        assert (plain(frames) - net(frames)).abs().max() > 1e-3
        torch.testing.assert_close(with_cleaning(net, net.cleaning.at(0))(frames), plain(frames))


def test_how_coarsely_each_sequence_is_quantised():
    cleaning, both = footage_cleaning(), torch.cat([tensors(clip(3)), 1 - tensors(clip(3))])
    with torch.no_grad():
        alone = [cleaning.at(1.0, step)(sequence[None]) for sequence, step in zip(both, (40.0, None), strict=True)]
        with told(cleaning, torch.tensor([40.0, torch.nan])):
            together = cleaning(both)
        torch.testing.assert_close(together, torch.cat(alone))
        # The rest is at the bounds, whose doublings change the residue by a factor, and through the layers.
        finest, coarsest = (cleaning.at(1.0, step)(both[:1]) for step in (1e-3, 1e4))
        assert torch.equal(finest, cleaning.at(1.0, 18 / 4)(both[:1]))
        assert torch.equal(coarsest, cleaning.at(1.0, 18 * 8.0)(both[:1]))
        assert (coarsest - both[:1]).abs().mean() > 2 * (finest - both[:1]).abs().mean()
    assert cleaning.quantiser_step is None


def test_what_is_told_ends_with_an_error():
    cleaning = footage_cleaning()
    net = with_cleaning(BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=8), cleaning)
    seen = []

    def fail():
        seen.append(cleaning.quantiser_step)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), told(net, 12.0):
        fail()
    assert seen == [12]
    assert cleaning.quantiser_step is None
    with told(with_cleaning(net, None), 12.0):  # nothing to be told
        pass


@pytest.mark.parametrize(("threshold", "rounds"), [(1.0, 1), (0.3, 2), (0.01, 3)])
def test_rounds_until_little_changes(threshold, rounds, tmp_path):
    # Residues of white frames: 0.5, 0.25, 0.125.
    cleaning, frames = Halving(max_rounds=3, threshold=threshold), [np.full((4, 6, 3), 255, np.uint8)] * 3
    expected = 0.5**rounds
    cleaned = clean_sequence(cleaning, frames, tmp_path, 0)
    assert torch.allclose(cleaned[1], torch.full((3, 4, 6), expected))
    assert torch.allclose(cleaning(tensors(frames)), torch.full((1, 3, 3, 4, 6), expected))
    cleaned.close()


def test_bands_change_nothing(monkeypatch):
    cleaning = footage_cleaning()
    window = [torch.rand(3, 101, 20) for _ in range(5)]
    with torch.no_grad():
        at_once, residue = cleaning.clean_frame(window)
        monkeypatch.setattr(stream, "PIXELS", 20)
        in_bands, same = clean_in_bands(cleaning, window)
    torch.testing.assert_close(in_bands, at_once, rtol=0, atol=1e-6)
    torch.testing.assert_close(same, residue)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mean_residues_of_half_precision_are_exact(dtype, monkeypatch):
    """The threshold is compared with them; float16 has no sum beyond 65504, and bfloat16 no third digit."""
    cleaning, frame = Halving(), torch.rand(3, 300, 250).to(dtype)
    monkeypatch.setattr(cleaning, "residue", lambda windows: windows[:, 0])
    expected = frame.double().mean().float()
    torch.testing.assert_close(cleaning.clean_frame([frame])[1], expected)
    monkeypatch.setattr(stream, "PIXELS", 2**12)
    torch.testing.assert_close(clean_in_bands(cleaning, [frame])[1], expected)


def test_precisions_agree(net):
    frames = clip(3)
    exact = torch.stack([torch.from_numpy(f) for f in restore_frames(net, frames)]).float()
    with torch.no_grad():
        plain = (net(tensors(frames))[0].clamp(0, 1) * 255).round().permute(0, 2, 3, 1)
    assert (exact - plain).abs().max() <= 1


@pytest.fixture(scope="module")
def clean():
    frames = read_frames("carphone_pristine", start=30, num_frames=6)
    return np.stack([bicubic_downsample(frame[:144, :176], 2) for frame in frames])


def test_auto_cleans_frames_that_look_compressed(clean):
    torch.manual_seed(0)
    plain = BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=8).eval()
    np.testing.assert_array_equal(list(restore_frames(plain, clean, clean="auto")), list(restore_frames(plain, clean)))
    coarse = through_codec(clean, "mpeg4", quality=12)
    step = step_of_frames(coarse[:5])  # the first frames tell
    expected = list(restore_frames(clean_by(plain, 1.0, step), coarse))
    for asked in ("auto", 1.0):
        np.testing.assert_array_equal(list(restore_frames(plain, iter(coarse), clean=asked)), expected)
    assert not np.array_equal(expected, list(restore_frames(plain, coarse, clean="off")))
    single = list(restore_frames(plain, coarse[:1], clean="auto"))
    assert len(single) == 1
    assert list(restore_frames(plain, [], clean="auto")) == []


def test_what_a_cleaning_was_told_stands(net, monkeypatch):
    monkeypatch.setattr(stream, "step_of_frames", lambda frames: pytest.fail("nobody asked"))
    frames = clip(3)
    with told(net, 12.0):
        expected = list(restore_frames(net, frames))
        for asked in ("auto", 1.0):
            np.testing.assert_array_equal(list(restore_frames(net, frames, clean=asked)), expected)
    list(restore_frames(net, frames, clean="auto"))  # its own cleaning does what it does by itself
