"""Previews and estimates: what is shown is what comes out, and nothing stays behind."""

from dataclasses import replace
from threading import Event

import numpy as np
import pytest
import torch
from PIL import Image

from vsr_plugin.errors import MediaError, VSRError
from vsr_plugin.media import Encoding, open_source
from vsr_plugin.models import BasicVSRNet
from vsr_plugin.ops.resize import bicubic_upsample
from vsr_plugin.restoration import preview as module
from vsr_plugin.restoration import restore_video
from vsr_plugin.restoration.options import RestoreOptions
from vsr_plugin.restoration.pipeline import StoppedError
from vsr_plugin.restoration.preview import excerpt, in_hours, preview

LOSSLESS = RestoreOptions(encoding=Encoding(codec="ffv1"), clean="off")


@pytest.fixture(scope="module")
def net():
    return BasicVSRNet(mid_channels=4, num_blocks=1, spynet_width=4).eval()


@pytest.fixture
def clip(media, tmp_path):
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (32, 48 + 60, 3), np.uint8)
    pictures = [np.ascontiguousarray(wide[:, i : i + 48]) for i in range(60)]
    return media.make_clip(tmp_path / "in.mp4", n=60, pictures=pictures, audio="aac", options={"crf": "10", "g": "12"})


def test_the_preview_is_a_frame_of_the_job(clip, net, tmp_path):
    shown = preview(clip, tmp_path / "out.mkv", net, LOSSLESS, 1.61, num_frames=3)
    assert (shown.number, shown.seconds, shown.where) == (41, pytest.approx(1.64), "0:00:01.64")
    restore_video(clip, tmp_path / "part.mkv", net, replace(LOSSLESS, start=40, num_frames=3))
    with open_source(tmp_path / "part.mkv") as part, open_source(clip) as source:
        np.testing.assert_array_equal(shown.restored, next(part.frames(1)).rgb)
        before = next(source.frames(41)).rgb
    np.testing.assert_array_equal(shown.original, before)
    np.testing.assert_array_equal(shown.enlarged, bicubic_upsample(before))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "part.mkv"]


def test_the_middle_is_shown_by_default(clip, net, tmp_path):
    assert preview(clip, tmp_path / "out.mkv", net, LOSSLESS, num_frames=1).number == 30
    part = replace(LOSSLESS, start=40, num_frames=10)
    shown = preview(clip, tmp_path / "out.mkv", net, part, num_frames=1)
    assert (shown.number, shown.estimate.num_frames) == (45, 10)


def test_an_image_of_a_folder(net, tmp_path):
    (tmp_path / "frames").mkdir()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 20, 24, 3), np.uint8)
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "frames" / f"{i:03d}.png")
    shown = preview(tmp_path / "frames", tmp_path / "out", net, RestoreOptions(), 3)
    assert (shown.where, shown.estimate.num_frames, shown.restored.shape) == ("image 3", 4, (80, 96, 3))
    np.testing.assert_array_equal(shown.original, images[3])
    with pytest.raises(MediaError, match="4 frames"):
        preview(tmp_path / "frames", tmp_path / "out", net, RestoreOptions(), 4)


def test_an_animation_in_a_folder_whose_name_has_a_dot(net, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), np.uint8)
    first, *others = map(Image.fromarray, images)
    first.save(tmp_path / "in.webp", save_all=True, append_images=others, lossless=True, duration=100)
    (tmp_path / "out.v2").mkdir()
    shown = preview(tmp_path / "in.webp", tmp_path / "out.v2", net, RestoreOptions(), 0)
    np.testing.assert_array_equal(shown.original, images[0])
    assert "animation, 8 bits, no audio streams" in shown.lines[0]
    assert not any("were asked for" in line for line in shown.lines)


@pytest.mark.parametrize("name", ["out.mkv", "out.avi"])  # which can say that it is turned, and which cannot
def test_turned_video_is_shown_upright(media, net, tmp_path, name):
    quarter = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    clip = media.make_clip(tmp_path / "in.mp4", n=3, setup=lambda container, stream: stream.set_display_matrix(quarter))
    shown = preview(clip, tmp_path / name, net, LOSSLESS, 0.04, num_frames=1)
    with open_source(clip) as source:
        upright = source.orientation.apply(next(source.frames(1)).rgb)
    assert upright.shape == (48, 32, 3)
    np.testing.assert_array_equal(shown.original, upright)
    assert shown.restored.shape == shown.enlarged.shape == (192, 128, 3)
    assert "32x48 -> 128x192" in shown.lines[0]


def test_an_excerpt_is_a_part_of_the_result_with_its_sound(clip, media, net, tmp_path):
    excerpt(clip, tmp_path / "clip.mkv", net, LOSSLESS, 1.6, seconds=0.4)
    restore_video(clip, tmp_path / "part.mkv", net, replace(LOSSLESS, start=35, num_frames=10))
    ours, expected = (open_source(tmp_path / name) for name in ("clip.mkv", "part.mkv"))
    for a, b in zip(ours.frames(), expected.frames(), strict=True):
        np.testing.assert_array_equal(a.rgb, b.rgb)
    assert len(media.packets(tmp_path / "clip.mkv")) == len(media.packets(tmp_path / "part.mkv")) > 0


def test_time_is_counted_without_the_first_steps(net, monkeypatch):
    """Four frames: backward steps of 1 s, forward ones of 2 s; the first of each sort compile for 10 s more."""
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    clock = module._Clock(None, Event())
    for seconds in (11, 1, 1, 1, 12, 2, 2, 2):
        now[0] += seconds
        clock(0.5)
    now[0] += 2  # encoding
    assert clock.seconds_per_frame(4, net) == pytest.approx(2 * 9 / 6 + 0.5)


def test_the_estimate_counts_all_frames(clip, net, tmp_path):
    estimate = preview(clip, tmp_path / "out.mkv", net, LOSSLESS).estimate
    assert estimate.num_frames == estimate.shot_frames == 60
    assert estimate.seconds == pytest.approx(60 * estimate.seconds_per_frame)
    restore_video(clip, tmp_path / "out.mkv", net, replace(LOSSLESS, encoding=Encoding(codec="ffv1", audio=False)))
    assert estimate.output_bytes == pytest.approx((tmp_path / "out.mkv").stat().st_size, rel=0.2)
    # 4 channels of float32 a state, flow of both directions, and the states at the border of two blocks.
    assert estimate.work_bytes == 32 * 48 * (60 * (4 * 4 + 2 * 2 * 4) + 2 * 2 * 4 * 4)
    assert "for 60 frames" in str(estimate)


@pytest.mark.parametrize(
    ("seconds", "words"), [(7.6, "8 s"), (200, "3 min 20 s"), (7500.4, "2 h 5 min"), (90000, "25 h 0 min")]
)
def test_times_in_words(seconds, words):
    assert in_hours(seconds) == words


def test_a_moment_outside(clip, net, tmp_path):
    with pytest.raises(VSRError, match=r"ends at 2\.36 s; choose a moment before 9 s"):
        preview(clip, tmp_path / "out.mkv", net, LOSSLESS, 9)
    with pytest.raises(VSRError, match="nothing before its beginning"):
        preview(clip, tmp_path / "out.mkv", net, LOSSLESS, -1)


def test_stopped_on_the_way(clip, net, tmp_path):
    stop = Event()
    with pytest.raises(StoppedError):
        preview(clip, tmp_path / "out.mkv", net, LOSSLESS, progress=lambda count: stop.set(), stop=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_the_command(clip, run_tool, net, tmp_path):
    torch.save(dict(state_dict=net.state_dict()), tmp_path / "small.pth")
    command = "restore_video", clip, tmp_path / "out.mp4", "--weights", tmp_path / "small.pth", "--device", "cpu"
    status, out, _ = run_tool(*command, "--estimate")
    assert status == 0
    assert "48x32 -> 192x128, 25 frames a second, 2 s (60 frames), h264" in out
    assert "1 audio stream" in out
    assert "estimate: about" in out
    assert not list(tmp_path.glob("out*"))
    status, out, _ = run_tool(*command, "--preview", "0:00:01.6")
    assert status == 0
    assert "preview of 0:00:01.60" in out
    with Image.open(tmp_path / "out_preview.png") as picture:
        assert picture.width == 1280
    assert [path.name for path in tmp_path.glob("*out*")] == ["out_preview.png"]
    status, _, err = run_tool(*command, "--preview")
    assert (status, err.count("\n")) == (1, 1)
    assert "out_preview.png" in err
    status, _, err = run_tool(*command, "--preview=soon")
    assert status == 2
    assert "invalid time" in err


def test_the_command_of_several_inputs(clip, media, run_tool, net, tmp_path):
    """One that is damaged does not end the others, those that differ in the extension alone have a picture each."""
    torch.save(dict(state_dict=net.state_dict()), tmp_path / "small.pth")
    other = media.make_clip(tmp_path / "in.mkv", n=3)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    options = f"{tmp_path}/out/", "--weights", tmp_path / "small.pth", "--device", "cpu"
    status, out, err = run_tool("restore_video", clip, tmp_path / "bad.mp4", other, *options, "--estimate")
    assert status == 1
    assert f"error: 1 of 3 inputs failed: {tmp_path / 'bad.mp4'}" in err
    assert out.count("estimate: about") == 2
    assert "2 of 3 inputs: about" in out
    assert not (tmp_path / "out").exists()
    status, out, _ = run_tool("restore_video", clip, other, *options, "--preview")
    assert status == 0
    assert "all 2 inputs: about" in out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"in.mp4_preview.png", "in.mkv_preview.png"}
