"""Several processes at one video, and several videos."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from commands import TOOL, Command, content


def test_two_processes_give_the_file_of_one(start, weights, clip, tmp_path):
    command = start(clip, tmp_path / "one.mp4")
    assert command.wait() == 0, command.log
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", TOOL, clip,
         tmp_path / "two.mp4", "--weights", weights, "--device", "cpu"],
        env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("150 frames") == 1
    assert content(tmp_path / "two.mp4") == content(tmp_path / "one.mp4")


@pytest.fixture
def pair(start):
    """Start two processes that know of each other without torchrun."""

    def run(*arguments, second=()) -> list[Command]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        common = dict(WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        return [
            start(*(second if rank == "1" and second else arguments), RANK=rank, LOCAL_RANK=rank, **common)
            for rank in "01"
        ]

    return run


def test_windows_of_two_processes_fade_into_each_other_as_those_of_one(start, pair, clip, tmp_path):
    windows = ("--strategy", "window", "--window", 20, "--overlap", 6, "--scene-cuts", "off", "--scale", 1.5)
    command = start(clip, tmp_path / "one.mp4", *windows)
    assert command.wait() == 0, command.log
    for command in pair(clip, tmp_path / "two.mp4", *windows):
        assert command.wait() == 0, command.log
    assert content(tmp_path / "two.mp4") == content(tmp_path / "one.mp4")
    assert not (tmp_path / ".two.mp4.job").exists()


def test_killed_processes_resume_as_one_and_the_other_way_round(start, pair, clip, tmp_path):
    command = start(clip, tmp_path / "whole.mp4")
    assert command.wait() == 0, command.log
    out = tmp_path / "out.mp4"
    commands = pair(clip, out)
    records = tmp_path / ".out.mp4.job" / "records"
    while not (records.is_dir() and any(records.iterdir())):
        time.sleep(0.02)
    for command in commands:
        command.stop(signal.SIGKILL)
        command.wait()
    command = start(clip, out, "--resume")
    command.wait_for_work()
    time.sleep(0.5)
    command.stop(signal.SIGKILL)
    command.wait()
    for command in pair(clip, out, "--resume"):
        assert command.wait() == 0, command.log
    assert content(out) == content(tmp_path / "whole.mp4")


def test_one_failing_process_ends_all_with_one_line(pair, clip, tmp_path):
    commands = pair(clip, tmp_path / "out.mp4", second=(tmp_path / "nothing.mp4", tmp_path / "out.mp4"))
    assert [command.wait(60) for command in commands] == [1, 1]
    complaints = [line for command in commands for line in command.log.splitlines() if "error" in line]
    assert len(complaints) == 1
    assert "nothing.mp4: no such file" in complaints[0]


def test_one_piece_cannot_be_shared(pair, media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", n=6)
    first, second = pair(clip, tmp_path / "out.mp4")
    assert (first.wait(), second.wait()) == (0, 0)
    assert "the video is one piece, which one process restores" in first.log
    assert "note" not in second.log


def test_processes_that_do_not_know_their_number(restore_error, clip, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    error = restore_error(clip, tmp_path / "out.mp4")
    assert error == "error: WORLD_SIZE is 2, but RANK is not set; start the processes with torchrun, or unset it"


def test_several_inputs(run_tool, restore_error, weights, media, pair, tmp_path):
    clips = [media.make_clip(tmp_path / name, n=3) for name in ("a.mp4", "b.mkv", "c.ts")]
    out = tmp_path / "out"
    assert "several inputs need a folder" in restore_error(*clips, out)
    assert "--gt and --comparison are for one input" in restore_error(*clips, f"{out}/", "--gt", clips[0])
    status, report, error = run_tool("restore_video", *clips[:2], out, "--weights", weights)
    assert status == 0, error
    assert report.count("3 frames") == 2
    for command in pair(*clips, out, "--resume"):
        assert command.wait() == 0, command.log
    assert {path.name for path in out.iterdir()} == {"a.mp4", "b.mkv", "c.mp4"}
    (tmp_path / "other").mkdir()
    for name in ("b.mkv", "c.mp4"):
        (out / name).unlink()
    clips[1].write_bytes(b"no video")
    status, report, error = run_tool("restore_video", *clips, out, "--weights", weights, "--resume")
    assert status == 1
    assert "a.mp4: is there already" in report
    assert "error: 1 of 3 inputs failed: " + str(clips[1]) in error
    assert {path.name for path in out.iterdir()} == {"a.mp4", "c.mp4"}
    again = media.make_clip(tmp_path / "other" / "a.mp4", n=3)
    assert "would both become" in restore_error(clips[0], again, out)
