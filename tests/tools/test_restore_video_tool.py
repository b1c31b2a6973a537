import csv
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from vsr_plugin.inference import restore_frames
from vsr_plugin.media import open_source
from vsr_plugin.models import IconVSRNet
from vsr_plugin.ops.resize import bicubic_upsample
from vsr_plugin.progress import read_record
from vsr_plugin.weights import load_net

TOOL = Path(__file__).parents[2] / "tools" / "restore_video.py"


def test_a_video_keeps_rate_duration_and_audio(restore, media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", n=8, audio="aac")
    out = tmp_path / "out.mp4"
    report = restore(clip, out)
    assert "48x32 -> 192x128" in report
    assert "8 frames" in report
    before, after = media.probe(clip), media.probe(out)
    assert after.size == (128, 192)
    assert (after.rate, after.pts, after.time_base) == (Fraction(25), before.pts, before.time_base)
    assert after.duration == before.duration
    assert media.packets(out) == media.packets(clip)


def test_fields_of_an_interlaced_video_become_frames(restore, media, tmp_path):
    interlaced = {"flags": "+ildct+ilme", "preset": "ultrafast"}
    clip = media.make_clip(tmp_path / "in.mp4", n=6, audio="aac", options=interlaced)
    assert "whole frames are made of its frames (--deinterlace auto)" in restore(clip, tmp_path / "frames.mp4")
    assert "12 frames" in restore(clip, tmp_path / "fields.mp4", "--deinterlace", "fields")
    before, frames, fields = (media.probe(tmp_path / name) for name in ("in.mp4", "frames.mp4", "fields.mp4"))
    assert (frames.rate, frames.pts) == (before.rate, before.pts)
    assert (fields.rate, len(fields.pts)) == (50, 12)
    length = [float(found.duration * found.time_base) for found in (before, frames, fields)]
    assert length[1:] == pytest.approx(length[:1] * 2)
    assert media.packets(tmp_path / "fields.mp4") == media.packets(clip)
    with open_source(tmp_path / "fields.mp4") as source:
        assert not any("interlaced" in line for line in source.notes)


def test_ntsc_rate_stays_exact(restore, media, tmp_path):
    rate = Fraction(30000, 1001)
    clip = media.make_clip(tmp_path / "in.mp4", n=6, rate=rate, unit=Fraction(1, 30000))
    restore(clip, tmp_path / "out.mp4")
    assert media.probe(tmp_path / "out.mp4").rate == rate


def test_the_pixels_are_those_of_restore_frames(restore, weights, images, tmp_path):
    restore(images, tmp_path / "out")
    net = load_net(weights).to(memory_format=torch.channels_last)
    with open_source(images) as source:
        expected = list(restore_frames(net, [frame.rgb for frame in source.frames()]))
    names = ["f2.png", "f9.png", "f10.png", "f11.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    for name, frame in zip(names, expected, strict=True):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / name)), frame)


@pytest.mark.parametrize(
    ("options", "size", "pix_fmt"),
    [
        (["--scale", 2], (64, 96), "yuv420p"),
        (["--height", 100], (100, 150), "yuv420p"),
        (["--height", 50], (50, 76), "yuv420p"),  # 75 columns, made even
        (["--scale", 1.6], (51, 77), "yuv444p"),
        (["--scale", 5], (160, 240), "yuv420p"),
    ],
    ids=str,
)
def test_the_size_of_a_video(restore, media, tmp_path, options, size, pix_fmt):
    clip = media.make_clip(tmp_path / "in.mp4", n=3, audio="aac")
    report = restore(clip, tmp_path / "out.mp4", *options)
    assert f"48x32 -> {size[1]}x{size[0]}" in report
    assert ("an odd size" in report) == (pix_fmt == "yuv444p")
    before, after = media.probe(clip), media.probe(tmp_path / "out.mp4")
    assert (after.size, after.pix_fmt) == (size, pix_fmt)
    assert (after.aspect, after.pts, after.duration) == (before.aspect, before.pts, before.duration)
    assert media.packets(tmp_path / "out.mp4") == media.packets(clip)


@pytest.mark.parametrize("name", ["out.mp4", "out.avi", "out"])
def test_the_height_of_a_video_that_lies_on_its_side(restore, media, tmp_path, name):
    clip = media.make_clip(tmp_path / "in.mp4", n=2, setup=lambda container, stream: stream.set_display_rotation(90))
    restore(clip, tmp_path / name, "--height", 72)
    with open_source(tmp_path / name) as source:
        # Shown, it is 32 wide and 48 high; AVI and images cannot say so and are turned.
        assert source.orientation.size(source.height, source.width) == (72, 48)
        assert source.orientation.transpose == (name == "out.mp4")
    if name == "out.mp4":
        media.copy(clip, tmp_path / "as-large.mp4", scale=3)
        restore(clip, tmp_path / "scaled.mp4", "--scale", 3)
        matrices = []
        for path in (tmp_path / "as-large.mp4", tmp_path / "scaled.mp4"):
            with open_source(path) as source:
                matrices.append(source.display_matrix)
        assert matrices[0] == matrices[1]


def test_the_quality_at_another_size(restore, media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mkv", n=3)
    media.copy(clip, tmp_path / "gt.mkv", scale=2)
    report = restore(clip, tmp_path / "out.mkv", "--scale", 2, "--gt", tmp_path / "gt.mkv")
    assert "PSNR" in report
    error = restore(clip, tmp_path / "other.mkv", "--height", 32, "--gt", tmp_path / "gt.mkv", status=1)
    assert "gt.mkv: ground truth of 96x64 does not fit: the input is 48x32, so it must be 48x32" in error
    assert error.count("\n") == 1


def test_part_of_a_video(restore, media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", n=8)
    restore(clip, tmp_path / "part", "--start", 2, "--num-frames", 3)
    assert len(list((tmp_path / "part").iterdir())) == 3


def test_alpha_is_enlarged_and_grey_stays_grey(restore, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    rng = np.random.default_rng(0)
    alpha = np.linspace(0, 255, 80).astype(np.uint8).reshape(8, 10)
    rgb = rng.integers(0, 256, (8, 10, 3), np.uint8)
    Image.fromarray(np.dstack((rgb, alpha))).save(folder / "a.png")
    Image.fromarray(rgb[..., 0]).save(folder / "b.png")
    restore(folder, tmp_path / "out")
    a, b = Image.open(tmp_path / "out" / "a.png"), Image.open(tmp_path / "out" / "b.png")
    assert (a.mode, b.mode, a.size, b.size) == ("RGBA", "L", (40, 32), (40, 32))
    expected = bicubic_upsample(np.repeat(alpha[..., None], 3, axis=2))[..., 0]
    assert np.array_equal(np.asarray(a)[..., 3], expected)


def test_ground_truth_gives_figures_protocol_csv_and_picture(restore, images, tmp_path):
    gt = tmp_path / "gt"
    gt.mkdir()
    for path in images.iterdir():
        lr = cv2.imread(str(path))
        cv2.imwrite(str(gt / path.name), cv2.resize(lr, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC))
    picture = tmp_path / "comparison.png"
    report = restore(images, tmp_path / "out", "--gt", gt, "--comparison", picture, "--start", 1, "--channel", "RGB")
    protocol = "RGB, no border cropped, 8-bit frames after rounding, before encoding, mean over frames"
    assert f"protocol: {protocol}" in report
    lines = (tmp_path / "out_quality.csv").read_text().splitlines()
    assert lines[0].startswith(f"# {protocol}")
    rows = list(csv.DictReader(lines[1:]))
    assert [row["frame"] for row in rows] == ["1", "2", "3"]
    for row, name in zip(rows, ("f9.png", "f10.png", "f11.png"), strict=True):
        pair = [cv2.imread(str(folder / name)).astype(float) for folder in (tmp_path / "out", gt)]
        psnr = 10 * np.log10(255**2 / np.mean((pair[0] - pair[1]) ** 2))
        assert float(row["psnr"]) == pytest.approx(psnr, abs=1e-3)
    mean = np.mean([float(row["psnr"]) for row in rows])
    assert f"PSNR {mean:.2f} dB" in report
    assert Image.open(picture).size[0] == 1280


def test_overwrite_replaces_the_result(restore, images, tmp_path):
    out = tmp_path / "out.mp4"
    out.write_bytes(b"old")
    assert "pass --overwrite" in restore(images, out, status=1)
    assert out.read_bytes() == b"old"
    restore(images, out, "--overwrite", "--fps", "30000/1001")
    with open_source(out) as source:
        assert source.average_rate == Fraction(30000, 1001)


def test_keyframe_stride(restore, images, tmp_path):
    torch.manual_seed(0)
    net = IconVSRNet(mid_channels=8, num_blocks=1, spynet_width=4)
    for parameter in [*net.edvr.parameters(), *net.backward_fusion.parameters()]:
        parameter.data *= 2  # so that keyframes show in eight bits
    weights = tmp_path / "iconvsr.pth"
    torch.save(dict(state_dict=net.state_dict()), weights)
    frames = [np.asarray(Image.open(images / f"f{i}.png")) for i in (2, 9, 10, 11)]
    results = []
    for stride, options in ((5, []), (2, ["--keyframe-stride", 2]), (None, ["--keyframe-stride", 0])):
        out = tmp_path / f"out{stride}"
        restore(images, out, "--weights", weights, *options)
        expected = restore_frames(load_net(weights, keyframe_stride=stride), frames)
        results.append(
            [np.asarray(Image.open(path)) for path in sorted(out.iterdir(), key=lambda path: int(path.stem[1:]))]
        )
        for restored, wanted in zip(results[-1], expected, strict=True):
            assert np.abs(restored.astype(int) - wanted).max() <= 1
    for others in results[1:]:
        assert any((a != b).mean() > 0.05 for a, b in zip(results[0], others, strict=True))


def test_ground_truth_that_goes_on_is_told(restore, images, tmp_path):
    count = len(list(images.iterdir()))
    gt = tmp_path / "gt"
    gt.mkdir()
    for i in range(count + 1):
        cv2.imwrite(str(gt / f"{i}.png"), np.zeros((40, 56, 3), np.uint8))
    told = f"has {count + 1} frames, the input {count}: frame by frame from the first, the rest was not compared"
    assert told in restore(images, tmp_path / "out", "--gt", gt)


def test_a_cut_off_video_gives_what_decodes_and_says_so(restore, media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mkv", n=30)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    report = restore(clip, tmp_path / "out")
    count = len(list((tmp_path / "out").iterdir()))
    assert 0 < count < 30
    assert "note: the video is cut off: it declares 1.20 s, frames decode up to" in report


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_leaves_nothing_but_the_job(weights, tmp_path, number, status):
    big = tmp_path / "big"
    big.mkdir()
    for i in range(60):
        cv2.imwrite(str(big / f"{i}.png"), np.zeros((200, 200, 3), np.uint8))
    before = set(tmp_path.iterdir())
    process = subprocess.Popen(
        [sys.executable, TOOL, big, tmp_path / "out.mp4", "--weights", weights],
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job, as a CI may be, ignores Ctrl-C and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for _ in range(600):
        if set(tmp_path.iterdir()) != before:  # the hidden folder: work has begun
            break
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert "Traceback" not in err
    # The folder with what is done stays if anything is.
    assert {path for path in tmp_path.iterdir() if path.name != ".out.mp4.job"} == before


def test_the_only_video_of_a_folder(restore, media, tmp_path):
    """It goes where it would if there were two."""
    (tmp_path / "films").mkdir()
    media.make_clip(tmp_path / "films" / "a.mp4", n=2)
    out = tmp_path / "out"
    restore(tmp_path / "films", f"{out}/", "--estimate")
    assert not out.exists()
    restore(tmp_path / "films", f"{out}/")
    restore(tmp_path / "films", tmp_path / "named.mkv")
    assert [path.name for path in out.iterdir()] == ["a.mp4"]
    before = (out / "a.mp4").stat().st_mtime_ns
    restore(tmp_path / "films", f"{out}/", "--resume")  # as every night
    assert (out / "a.mp4").stat().st_mtime_ns == before
    assert (tmp_path / "named.mkv").is_file()


def test_help_names_every_option(run_tool):
    status, out, _ = run_tool("restore_video", "--help")
    assert status == 0
    for option in ("--weights", "--device", "--start", "--num-frames", "--gt", "--overwrite", "--codec", "--window"):
        assert option in out


def test_progress_for_programs(restore, media, tmp_path):
    clip, out = media.make_clip(tmp_path / "in.mp4", n=8), tmp_path / "out.mp4"
    records = list(filter(None, map(read_record, restore(clip, out, "--progress", "json").splitlines())))
    assert records[-1] == dict(output=str(out), frames=8)
    assert (records[-2]["frames"], records[-2]["of"]) == (8, 8)
