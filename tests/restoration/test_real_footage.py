"""Compressed footage: what is told of it, and cleaning, shrinking and blending from file to file."""

from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import torch
from clip_files import write_frames

from vsr_plugin.data.degraded_clip import read_frames
from vsr_plugin.data.footage.codecs import through_codec
from vsr_plugin.errors import VSRError
from vsr_plugin.inference import restore_frames
from vsr_plugin.inference.storage import needed_bytes
from vsr_plugin.media import open_source
from vsr_plugin.models import BasicVSRNet, BasicVSRPlusPlusNet
from vsr_plugin.models.cleaning import SHIPPED_CLEANING, FootageCleaning, clean_by
from vsr_plugin.models.quantiser_estimator import FAINTEST
from vsr_plugin.ops.resize import bicubic_downsample, bicubic_resize
from vsr_plugin.restoration import RestoreOptions, restore_video
from vsr_plugin.restoration.footage import cleaning_for, shrink_hint
from vsr_plugin.restoration.preview import describe, preview
from vsr_plugin.weights import load_net


@pytest.fixture(scope="module")
def frames():
    return [frame[100:148, 200:264] for frame in read_frames("bikes", start=30, num_frames=3)]


@pytest.fixture(scope="module")
def lossy(frames, tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("videos") / "lossy.mp4", frames, "libx264", "yuv420p", crf="28")


@pytest.fixture(scope="module")
def clean():
    """Small frames of a clip that no codec has touched."""
    frames = read_frames("carphone_pristine", start=30, num_frames=3)
    return np.stack([bicubic_downsample(frame[32:128, 32:160], 2) for frame in frames])


@pytest.fixture(scope="module")
def coarse(clean):
    """The same as a codec with a coarse quantiser leaves them."""
    return through_codec(clean, "mpeg4", quality=12)


@pytest.fixture(scope="module")
def lossless(clean, tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("videos") / "lossless.mkv", clean, "ffv1", "bgr0")


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=8).eval()


def rgb(path):
    with open_source(path) as source:
        return [frame.rgb for frame in source.frames()]


def restored(source, net, tmp_path, **options):
    target = tmp_path / "out.mkv"
    notes = restore_video(source, target, net, RestoreOptions(encoding=LOSSLESS, **options)).notes
    return rgb(target), notes


LOSSLESS = RestoreOptions().encoding.__class__(codec="ffv1", pix_fmt="bgr0")


def test_compressed_video_is_cleaned_by_default_and_says_so(lossy, lossless, net, tmp_path):
    given = rgb(lossy)
    cleaned, notes = restored(lossy, net, tmp_path)
    with open_source(lossy) as source:
        step = source.quantiser_step
    np.testing.assert_array_equal(cleaned, list(restore_frames(clean_by(net, 1.0, step), given)))
    assert not np.array_equal(cleaned, list(restore_frames(net, given, clean=1.0)))
    assert any("h264" in note and "--clean off" in note for note in notes)
    (tmp_path / "out.mkv").unlink()
    plain, notes = restored(lossy, net, tmp_path, clean="off")
    np.testing.assert_array_equal(plain, list(restore_frames(net, given)))
    assert not any("clean" in note for note in notes)
    assert not np.array_equal(plain, cleaned)
    (tmp_path / "out.mkv").unlink()
    plain, notes = restored(lossless, net, tmp_path)
    np.testing.assert_array_equal(plain, list(restore_frames(net, rgb(lossless))))
    assert not any("clean" in note for note in notes)


def test_weights_that_restore_at_the_size_are_left_to_it(lossy, tmp_path, monkeypatch):
    net = BasicVSRPlusPlusNet(8, 1, is_low_res_input=False, spynet_width=4).eval()
    plain, notes = restored(lossy, net, tmp_path)
    np.testing.assert_array_equal(plain, list(restore_frames(net, rgb(lossy))))
    assert not any("clean" in note for note in notes)
    strengths = []
    monkeypatch.setattr("vsr_plugin.restoration.preview.clean_by", lambda net, *how: strengths.append(how[0]) or net)
    shown = preview(lossy, tmp_path / "new.mkv", net, num_frames=1)
    assert not any("clean" in line for line in shown.lines)
    assert strengths == [None]


def test_weights_that_restore_at_the_size_are_given_no_smaller_frames(tmp_path):
    net = BasicVSRPlusPlusNet(8, 1, is_low_res_input=False, spynet_width=4).eval()
    frames = [frame[:96, :128] for frame in read_frames("carphone_pristine", start=10, num_frames=1)]
    path = write_frames(
        tmp_path / "in.mp4", [bicubic_resize(frame, 2.0) for frame in frames], "libx264", "yuv420p", crf="23"
    )
    with open_source(path) as source:
        assert any("--shrink 2" in line for line in describe(source, RestoreOptions()))
        assert not any("--shrink" in line for line in describe(source, RestoreOptions(), net))


def test_folders_stay_as_the_paper_has_them(frames, net, tmp_path):
    (tmp_path / "in").mkdir()
    for i, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / "in" / f"{i}.png"), frame[..., ::-1])
    restore_video(tmp_path / "in", tmp_path / "out", net)
    np.testing.assert_array_equal(rgb(tmp_path / "out"), list(restore_frames(net, frames)))


def test_what_auto_chooses(lossy, lossless, net):
    cleaned = clean_by(net, 1.0, None)
    with open_source(lossy) as source:
        chosen = cleaning_for(source, "auto", net)
        assert chosen[:2] == (1, source.quantiser_step)
        assert f"steps of {source.quantiser_step:.3g}/255" in chosen.why
        assert cleaning_for(source, "auto", cleaned) == (None, source.quantiser_step, None)
        assert cleaning_for(source, "off", cleaned) == (0, None, None)
        assert cleaning_for(source, 0.25, net) == (0.25, source.quantiser_step, None)
        source.bits_per_pixel = 6.0
        assert cleaning_for(source, "auto", net).strength == 1
    with open_source(lossless) as source:
        assert source.codec == "ffv1"
        assert cleaning_for(source, "auto", net) == (None, None, None)


@pytest.mark.parametrize(
    ("codec", "bits", "told", "seen", "choice", "looks"),
    [
        ("h264", 0.1, 36.0, 1.0, (1, 36.0), False),  # what is told stands, however little is seen
        ("h264", 0.1, 20.0, 32.0, (1, 20.0), False),
        ("h264", 9.0, 1.5, 1.0, (None, None), False),
        ("h264", 9.0, 1.5, 8.9, (None, None), False),
        ("h264", 9.0, 0.5, 9.5, (1, 9.5), True),
        ("hevc", 9.0, 1.0, 8.9, (None, None), False),  # lossless, and tells so
        ("h264", 9.0, 1.0, 16.0, (1, 16.0), True),
        ("h264", 0.5, 4.0, 16.0, (1, 8.0), True),  # converted, from what was coarser
        ("h264", 0.5, 4.0, 11.0, (1, 4.0), False),
        ("ffv1", 9.0, None, 1.0, (None, None), False),
        ("ffv1", 9.0, None, 19.0, (1, 19.0), True),  # a copy
        ("prores", 6.0, None, 2.0, (None, None), False),
        ("prores", 6.0, None, 9.5, (1, 9.5), True),
        ("cinepak", 1.0, None, 1.0, (1, None), False),  # does not tell, and leaves other traces
        ("cinepak", 1.0, None, 11.0, (1, 11.0), True),
        ("ffv1", 9.0, None, None, (None, None), False),
    ],
)
def test_what_is_told_and_what_is_seen(lossy, net, monkeypatch, codec, bits, told, seen, choice, looks):
    monkeypatch.setattr("vsr_plugin.restoration.footage.step_of_frames", lambda frames: seen)
    with open_source(lossy) as source:
        source.codec, source.bits_per_pixel, source.quantiser_step = codec, bits, told
        chosen = cleaning_for(source, "auto", net)
        assert chosen[:2] == choice
        assert ("look as if" in (chosen.why or "")) == looks
        forced = seen if choice == (None, None) and told is None else told if choice == (None, None) else choice[1]
        assert cleaning_for(source, 0.5, net)[:2] == (0.5, forced)


def test_a_lossless_copy_of_compressed_video_is_cleaned(coarse, net, tmp_path):
    copy = write_frames(tmp_path / "copy.mkv", coarse, "ffv1", "bgr0")
    cleaned, notes = restored(copy, net, tmp_path)
    with open_source(copy) as source:
        chosen = cleaning_for(source, "auto", net)
    assert chosen.strength == 1
    np.testing.assert_array_equal(cleaned, list(restore_frames(clean_by(net, 1.0, chosen.step), coarse)))
    assert any(
        "ffv1" in note and "look as if a codec had quantised them" in note and "--clean off" in note for note in notes
    )
    (tmp_path / "out.mkv").unlink()
    plain, _ = restored(copy, net, tmp_path, clean="off")
    np.testing.assert_array_equal(plain, list(restore_frames(net, coarse)))


def test_a_folder_of_compressed_images_is_left_and_a_note_says_how_to_clean_it(coarse, net, tmp_path):
    (tmp_path / "in").mkdir()
    for i, frame in enumerate(coarse):
        cv2.imwrite(str(tmp_path / "in" / f"{i}.png"), frame[..., ::-1])
    notes = restore_video(tmp_path / "in", tmp_path / "out", net).notes
    np.testing.assert_array_equal(rgb(tmp_path / "out"), list(restore_frames(net, coarse)))
    assert any("--clean 1" in note for note in notes)
    restore_video(tmp_path / "in", tmp_path / "cleaned", net, RestoreOptions(clean=1.0))
    with open_source(tmp_path / "in") as source:
        step = cleaning_for(source, 1.0, net).step
    assert step > FAINTEST
    np.testing.assert_array_equal(rgb(tmp_path / "cleaned"), list(restore_frames(clean_by(net, 1.0, step), coarse)))


def test_a_part_is_cleaned_as_the_whole_is(coarse, net, tmp_path):
    """What a preview shows of a moment is what the job will make of it."""
    path = write_frames(tmp_path / "copy.mkv", [*coarse, *coarse[::-1]], "ffv1", "bgr0")
    with open_source(path) as source:
        part = source.entered_at(0.0)
        assert cleaning_for(part, "auto", net) == cleaning_for(source, "auto", net) != (None, None, None)
        assert cleaning_for(part.entered_at(0.1), "auto", net) == cleaning_for(source, "auto", net)


def test_a_source_is_looked_at_once(lossy, net, monkeypatch):
    looks = []
    monkeypatch.setattr(
        "vsr_plugin.restoration.footage.step_of_frames", lambda frames: looks.append(len(frames)) or 1.0
    )
    with open_source(lossy) as source:
        for _ in range(2):
            cleaning_for(source, "auto", net)
            shrink_hint(source)
        cleaning_for(source, "off", net)
    assert len(looks) == 1


def test_places_all_over_a_video_and_a_folder_are_looked_at(frames, tmp_path, monkeypatch):
    numbered = [np.full((32, 48, 3), 2 * i, np.uint8) for i in range(100)]
    video = write_frames(tmp_path / "long.mkv", numbered, "ffv1", "bgr0", g="1")
    folder = tmp_path / "in"
    folder.mkdir()
    for i, frame in enumerate(numbered):
        cv2.imwrite(str(folder / f"{i}.png"), frame)
    looks = []
    monkeypatch.setattr(
        "vsr_plugin.restoration.footage.step_of_frames",
        lambda frames: looks.append([int(frame[0, 0, 0]) // 2 for frame in frames]) or 1.0,
    )
    for path in (video, folder):
        with open_source(path) as source:
            cleaning_for(source, "auto", None)
    of_video, of_folder = looks
    assert of_video[:4] == [0, 10, 20, 30]
    assert max(of_video) > 80
    assert len(set(of_video)) == len(of_video) >= 8
    assert of_folder == [0, 16, 33, 49, 66, 82, 99]


def test_bits_per_pixel(lossy):
    with open_source(lossy) as source, av.open(str(lossy)) as container:
        size = sum(packet.size for packet in container.demux(video=0))
        assert source.bits_per_pixel == pytest.approx(8 * size / (3 * 48 * 64), rel=0.1)


def test_strength_is_a_share_of_the_restored_frame(frames, net, tmp_path):
    lrs = [torch.from_numpy(frame).permute(2, 0, 1) / 255 for frame in frames]
    full, half, none = (list(restore_frames(net, lrs, strength=s)) for s in (1.0, 0.5, 0.0))
    bicubic = [bicubic_resize(lr, 4.0) for lr in lrs]
    for a, b, c, d in zip(full, half, none, bicubic, strict=True):
        torch.testing.assert_close(c, d.clamp(0, 1), rtol=0, atol=1e-6)
        inside = (a > 0) & (a < 1) & (d > 0) & (d < 1)
        torch.testing.assert_close(b[inside], ((a + d) / 2)[inside], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "size"), [({}, (96, 128)), (dict(scale=1.5), (72, 96)), (dict(height=96), (96, 128))]
)
def test_shrinking_first(lossless, net, tmp_path, options, size):
    given = rgb(lossless)
    frames, _ = restored(lossless, net, tmp_path, shrink=2, **options)
    assert frames[0].shape[:2] == size
    small = [bicubic_resize(frame, 0.5) for frame in given]
    np.testing.assert_array_equal(frames, list(restore_frames(net, given, shrink=2, **options)))
    np.testing.assert_array_equal(frames, list(restore_frames(net, small, height=size[0])))


def test_the_room_on_the_disk_is_that_of_shrunk_frames(lossless, net, tmp_path, monkeypatch):
    """A quarter of what is free holds the tensors of these, and not of frames of the full size."""
    free = 4 * 2 * needed_bytes(net, 3, 24 * 32, 3, states=True)
    monkeypatch.setattr("vsr_plugin.restoration.worker.shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    for shrink, strategy in ((2, "exact"), (1, "whole")):
        _, notes = restored(lossless, net, tmp_path, shrink=shrink, overwrite=True)
        assert any(f"restored as {strategy}" in note for note in notes)


def test_sizes_count_from_the_input_as_it_came(net):
    odd = [np.zeros((31, 45, 3), np.uint8)]
    assert next(restore_frames(net, odd, shrink=2)).shape[:2] == (4 * 16, 4 * 22)
    assert next(restore_frames(net, odd, shrink=2, scale=4)).shape[:2] == (4 * 31, 4 * 45)


def test_shrinking_is_proposed_for_enlarged_video(tmp_path):
    native = [frame[:192, :256] for frame in read_frames("carphone_pristine", start=10, num_frames=2)]
    small = [bicubic_resize(frame, 0.5) for frame in native]
    enlarged = [bicubic_resize(frame, frame_size) for frame, frame_size in ((s, native[0].shape[:2]) for s in small)]
    for frames, proposed in ((native, False), (enlarged, True)):
        path = write_frames(tmp_path / f"{proposed}.mp4", frames, "libx264", "yuv420p", crf="23")
        with open_source(path) as source:
            hint = shrink_hint(source)
            assert (hint is not None and "--shrink 2" in hint) == proposed
            assert not any("asked for" in note for note in source.notes)


@pytest.mark.parametrize(
    ("options", "words"),
    [(dict(clean=2), "clean"), (dict(clean="on"), "clean"), (dict(strength=-1), "strength")],
)
def test_bad_settings(options, words):
    with pytest.raises((ValueError, VSRError), match=words):
        RestoreOptions(**options)


@pytest.mark.parametrize("options", [dict(clean=1.5), dict(clean="on"), dict(strength=2), dict(shrink=0.5)])
def test_bad_settings_of_frames(options, net, frames):
    with pytest.raises(VSRError, match=next(iter(options))):
        next(restore_frames(net, frames, **options))


def test_shipped_cleaning_helps_compressed_frames_and_harms_clean_ones_little(net):
    cleaning = load_net(SHIPPED_CLEANING)
    assert isinstance(cleaning, FootageCleaning)
    # Held out from its training.
    clean = np.stack(
        [bicubic_downsample(f[:144, :176], 2) for f in read_frames("carphone_pristine", start=20, num_frames=5)]
    )

    def error(frames):
        lrs = torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float() / 255
        with torch.no_grad():
            return [
                float((x[0].permute(0, 2, 3, 1) - torch.from_numpy(clean) / 255).square().mean())
                for x in (lrs, cleaning(lrs))
            ]

    for quality in (24, 30):
        before, after = error(through_codec(clean, "h264", quality=quality))
        assert after < before
    assert error(clean)[1] < 1e-5  # 50 dB


def test_own_cleaning_comes_before_the_shipped_one(net):
    own = BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=8, cleaning=dict(type="footage", num_blocks=1)).eval()
    assert clean_by(own, None) is own
    told = clean_by(own, None, step=36.0).cleaning
    assert (told.strength, told.quantiser_step) == (1, 36.0)
    assert clean_by(told_net := clean_by(own, None, step=36.0), 0.5).cleaning.quantiser_step == 36
    assert clean_by(told_net, 0.5, step=20.0).cleaning.quantiser_step == 20
    assert clean_by(net, None, step=36.0) is net
    half = clean_by(own, 0.5)
    assert half.cleaning.strength == 0.5
    assert own.cleaning.strength == 1
    assert half.cleaning.conv_last is own.cleaning.conv_last
    assert clean_by(own, 0).cleaning is None
    shipped = clean_by(net, 0.5, step=36.0).cleaning
    assert (shipped.strength, shipped.quantiser_step) == (0.5, 36.0)
    assert net.cleaning is None
