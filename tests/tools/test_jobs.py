"""Jobs as a person meets them: killed, resumed, on a full disk; always the same file at the end."""

import json
import os
import random
import signal
import subprocess
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from branch_steps import replace_steps
from commands import content, shots

from vsr_plugin.models import BasicVSRNet
from vsr_plugin.restoration.job import JobFolder


def kill_until_done(start, arguments: list, kills: int, longest: float, seed: int) -> int:
    """Kill and resume at random moments; returns how often it was killed before it ended by itself."""
    rng = random.Random(seed)
    for count in range(kills):
        command = start(*arguments, "--resume")
        if rng.random() < 0.9:
            command.wait_for_work()
        time.sleep(rng.uniform(0, longest))
        command.stop(signal.SIGKILL)
        if command.wait() == 0:
            return count
    command = start(*arguments, "--resume")
    assert command.wait() == 0, command.log
    return kills


WINDOWS = ("--strategy", "window", "--window", 24, "--overlap", 6)


@pytest.mark.parametrize(("kills", "options"), [(6, ()), pytest.param(20, (), marks=pytest.mark.slow), (6, WINDOWS)])
def test_killed_again_and_again(start, clip, tmp_path, kills, options):
    whole, killed = tmp_path / "whole.mp4", tmp_path / "killed.mp4"
    begin = time.perf_counter()
    command = start(clip, whole, *options)
    assert command.wait() == 0, command.log
    seconds = time.perf_counter() - begin
    assert kill_until_done(start, [clip, killed, *options], kills, 1.5 * seconds / kills, seed=kills) > 0
    assert content(killed) == content(whole)
    assert {path.name for path in tmp_path.iterdir()} == {"in.mp4", "whole.mp4", "killed.mp4"}


def test_killed_while_writing_images_with_quality_and_picture(start, clip, media, tmp_path):
    media.copy(clip, tmp_path / "gt.mkv", scale=4)
    for name, run in (("whole", None), ("killed", 4)):
        options = ["--gt", tmp_path / "gt.mkv", "--comparison", tmp_path / f"{name}.png"]
        arguments = [clip, tmp_path / name, *options, "--start", 3, "--num-frames", 100]
        if run is None:
            command = start(*arguments)
            assert command.wait() == 0, command.log
        else:
            kill_until_done(start, arguments, run, 1.5, seed=1)
    for one in sorted((tmp_path / "whole").iterdir()):
        assert one.read_bytes() == (tmp_path / "killed" / one.name).read_bytes()
    assert len(list((tmp_path / "killed").iterdir())) == 100
    table = (tmp_path / "killed_quality.csv").read_text()
    assert table == (tmp_path / "whole_quality.csv").read_text()
    assert [line.split(",")[0] for line in table.splitlines()[2:]] == [str(i) for i in range(3, 103)]
    assert (tmp_path / "killed.png").read_bytes() == (tmp_path / "whole.png").read_bytes()


@pytest.fixture
def stopped(start, clip, tmp_path):
    """A job that was stopped when some of it was done; returns its output."""
    out = tmp_path / "out.mp4"
    command = start(clip, out)
    records = tmp_path / ".out.mp4.job" / "records"
    while not (records.is_dir() and any(records.iterdir())):
        assert not command.ended, command.log
        time.sleep(0.01)
    command.stop(signal.SIGINT)
    assert command.wait() == 130
    lines = [line for line in command.log.splitlines() if line.startswith("interrupted")]
    assert len(lines) == 1
    assert "--resume goes on from there" in lines[0]
    assert ".out.mp4.job gives the space back" in lines[0]
    assert not out.exists()
    return out


def test_without_resume_work_is_not_thrown_away_silently(start, restore_error, stopped, clip, tmp_path):
    error = restore_error(clip, stopped)
    assert "an interrupted run has left what it has done in" in error
    assert "go on from there with --resume, or throw it away with --overwrite" in error
    assert list((tmp_path / ".out.mp4.job" / "records").iterdir())
    command = start(clip, stopped, "--overwrite")
    assert command.wait() == 0, command.log
    assert "resumed" not in command.log
    assert {path.name for path in tmp_path.iterdir()} == {"in.mp4", "out.mp4"}


def test_resuming_says_what_was_done(start, stopped, clip):
    command = start(clip, stopped, "--resume")
    assert command.wait() == 0, command.log
    count = int(command.log.split("note: resumed: ")[1].split()[0])
    assert 20 <= count < 150


def test_a_short_scene_that_is_interrupted_goes_on_inside(run_tool, weights, media, tmp_path, monkeypatch):
    """All backward states of its 12 frames are kept, though none of its frames counts yet."""
    clip = media.make_clip(tmp_path / "in.mp4", n=12)
    arguments = ("restore_video", clip, tmp_path / "out.mp4", "--weights", weights)
    assert run_tool("restore_video", clip, tmp_path / "whole.mp4", "--weights", weights)[0] == 0
    with monkeypatch.context() as patch:
        replace_steps(patch, BasicVSRNet, "forward", interrupt)
        status, _, error = run_tool(*arguments)
    assert status == 130
    assert "--resume goes on from there" in error
    with monkeypatch.context() as patch:
        replace_steps(patch, BasicVSRNet, "backward", interrupt)
        status, out, error = run_tool(*arguments, "--resume")
    assert status == 0, error
    assert "resumed: 0 frames were done before, and of 1 more scene the half that goes backward in time" in out
    assert content(tmp_path / "out.mp4") == content(tmp_path / "whole.mp4")


def interrupt(*_):
    raise KeyboardInterrupt


def test_resuming_with_other_settings_or_input_is_refused(restore_error, stopped, clip, media):
    for options, message in (
        (["--codec", "libx265"], "encoding codec was libx264 and is libx265"),
        (["--scene-cuts", "off"], "scene-cuts was auto and is off"),
        (["--start", "2"], "start was 0 and is 2"),
        (["--deinterlace", "off"], "deinterlace was auto and is off"),
        (["--scale", "2"], "output size was 96x64 and is 48x32"),
        (["--height", "96"], "output size was 96x64 and is 144x96"),
    ):
        error = restore_error(clip, stopped, "--resume", *options)
        assert f"--resume cannot go on with other settings or another input: {message};" in error
    torch.manual_seed(1)
    other = clip.parent / "other.pth"
    torch.save(dict(state_dict=BasicVSRNet(mid_channels=4, num_blocks=1, spynet_width=4).state_dict()), other)
    assert "weights was" in restore_error(clip, stopped, "--resume", weights=other)
    media.make_clip(clip, n=150, size=(16, 24))
    assert "input content was" in restore_error(clip, stopped, "--resume")
    assert (stopped.parent / ".out.mp4.job").is_dir()


def test_nothing_to_resume(run_tool, weights, media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", n=3)
    status, out, _ = run_tool("restore_video", clip, tmp_path / "out.mp4", "--resume", "--weights", weights)
    assert status == 0
    assert "note: nothing to resume; started afresh" in out


def test_one_output_one_process(start, restore_error, clip, tmp_path):
    command = start(clip, tmp_path / "out.mp4")
    command.wait_for_work()
    assert "another process is at work on it" in restore_error(clip, tmp_path / "out.mp4")
    assert command.wait() == 0, command.log


def test_a_job_that_was_killed_at_its_very_end_is_done(run_tool, weights, media, tmp_path, monkeypatch):
    clip = media.make_clip(tmp_path / "in.mp4", n=3)
    for name in ("out.mp4", "out"):
        arguments = (clip, tmp_path / name, "--weights", weights)
        with monkeypatch.context() as patch:
            patch.setattr(JobFolder, "remove", lambda self: self.release())
            assert run_tool("restore_video", *arguments)[0] == 0
        assert (tmp_path / f".{name}.job").exists() or (tmp_path / name / f".{name}.job").exists()
        status, out, error = run_tool("restore_video", *arguments, "--resume")
        assert status == 0, error
        assert "3 frames" in out
        assert not (tmp_path / f".{name}.job").exists()


@pytest.mark.parametrize("deleted", range(6))
def test_a_job_that_was_killed_while_it_tidied_up_is_done(run_tool, weights, media, tmp_path, monkeypatch, deleted):
    clip = media.make_clip(tmp_path / "in.mp4", n=3)
    media.copy(clip, tmp_path / "gt.mkv", scale=4)
    options = ["--gt", tmp_path / "gt.mkv", "--comparison", tmp_path / "a.png"]
    arguments = [clip, tmp_path / "out.mp4", "--weights", weights, *options]
    unlink, gone = Path.unlink, []

    def killed_after(path, missing_ok=False):
        if path.parent.name == ".out.mp4.job" and path.suffix in (".json", ".npz") and path.exists():
            if len(gone) == deleted:
                raise KeyboardInterrupt
            gone.append(path.name)
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed_after)
        patch.setattr(JobFolder, "leave", lambda self: self.release())
        assert run_tool("restore_video", *arguments)[0] == 130
    results = {path.name: path.read_bytes() for path in tmp_path.glob("[!.]*")}
    assert {"out.mp4", "out_quality.csv", "a.png"} <= results.keys()
    status, out, error = run_tool("restore_video", *arguments, "--resume")
    if "job.json" in gone:
        assert gone[-1] == "job.json"  # nothing says any more that there was a job
        assert "out.mp4: exists already" in error
    else:
        assert status == 0, error
        assert "3 frames" in out
    assert not (tmp_path / ".out.mp4.job").exists()
    assert {path.name: path.read_bytes() for path in tmp_path.glob("[!.]*")} == results


def test_no_frame_after_a_cut_depends_on_what_is_before_it(start, media, tmp_path):
    after = shots(40, first_seed=50)
    results = []
    for name, seed in (("a", 1), ("b", 2)):
        clip = media.make_clip(
            tmp_path / f"{name}.mkv", n=60, pictures=shots(20, first_seed=seed) + after, size=(16, 24),
            codec="ffv1", pix_fmt="bgr0", options={}, rate=Fraction(25), unit=Fraction(1, 1000),
        )  # fmt: skip
        command = start(clip, tmp_path / f"{name}_out.mkv", "--codec", "ffv1", "--clean", "off")
        assert command.wait() == 0, command.log
        with av.open(str(tmp_path / f"{name}_out.mkv")) as container:
            results.append([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    a, b = results
    assert len(a) == len(b) == 60
    assert not np.array_equal(a[19], b[19])
    assert all(np.array_equal(x, y) for x, y in zip(a[20:], b[20:], strict=True))


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "none", str(disk)], check=False).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("name", ["out.mkv", "out"])
def test_full_disk(restore_error, media, small_disk, tmp_path, name):
    pictures = list(np.random.default_rng(0).integers(0, 256, (12, 32, 48, 3), np.uint8))
    clip = media.make_clip(tmp_path / "in.mp4", n=12, pictures=pictures)
    error = restore_error(clip, small_disk / name, *(["--codec", "ffv1"] if name == "out.mkv" else []))
    assert "No space left on device" in error
    assert not (small_disk / name).exists()


@pytest.mark.slow
def test_ten_thousand_frames_in_fixed_memory(start, media, tmp_path):
    figures = {}
    for n in (1000, 10000):
        pictures = shots(97)
        clip = media.make_clip(
            tmp_path / f"{n}.mp4", n=n, size=(16, 24), pictures=pictures * (n // 97 + 1), audio="aac"
        )
        command = start(clip, tmp_path / f"{n}_out.mp4", "--scene-cuts", "off")
        files = memory = 0
        while not command.ended:
            try:
                files = max(files, len(os.listdir(f"/proc/{command._process.pid}/fd")))
                status = Path(f"/proc/{command._process.pid}/status").read_text()
                memory = max(memory, int(status.split("VmHWM:")[1].split()[0]))
            except (OSError, IndexError):
                pass
            time.sleep(0.05)
        assert command.wait() == 0, command.log
        assert len(media.probe(tmp_path / f"{n}_out.mp4").pts) == n
        assert media.packets(tmp_path / f"{n}_out.mp4") == media.packets(clip)
        figures[n] = (memory, files)
    print(json.dumps(figures))
    assert figures[10000][0] < 1.1 * figures[1000][0]
    assert figures[10000][1] <= figures[1000][1] + 1
