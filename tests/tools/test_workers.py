"""Several devices at one video, and several videos."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from commands import Command, content, shots

PAIR = ("--devices", "cpu,cpu")


@pytest.fixture
def start(processes, weights, tmp_path_factory):
    """Commands with two threads, of which each of two workers takes one."""
    logs = tmp_path_factory.mktemp("logs")

    def run(*arguments, threads: int = 2) -> Command:
        return Command(processes, logs, [*arguments, "--weights", weights], {}, threads)

    return run


@pytest.fixture
def clip(media, tmp_path):
    """A video of five scenes, with audio."""
    lengths = (8, 9, 14, 10, 9)
    return media.make_clip(tmp_path / "in.mp4", n=50, size=(16, 24), pictures=shots(*lengths), audio="aac")


@pytest.fixture
def whole(start, clip, tmp_path):
    """What one worker with one thread gives."""
    command = start(clip, tmp_path / "whole.mp4", "--device", "cpu", threads=1)
    assert command.wait() == 0, command.log
    return content(tmp_path / "whole.mp4")


def children(pid: int) -> list[int]:
    """Numbers of the worker processes of a tool."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            command = (stat.parent / "cmdline").read_bytes()
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid and b"spawn_main" in command:
                found.append(int(stat.parent.name))
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def has_records(job: Path) -> bool:
    return any(job.glob("records/*.json"))


def test_two_workers_give_the_file_of_one(start, whole, clip, tmp_path):
    command = start(clip, tmp_path / "two.mp4", *PAIR)
    assert command.wait() == 0, command.log
    assert command.log.count("two.mp4: 50 frames") == 1
    assert "small.pth) on cpu, cpu" in command.log
    assert content(tmp_path / "two.mp4") == whole
    assert not (tmp_path / ".two.mp4.job").exists()


def test_the_tool_is_killed_and_resumed(start, whole, clip, tmp_path):
    command = start(clip, tmp_path / "out.mp4", *PAIR)
    wait_until(lambda: has_records(tmp_path / ".out.mp4.job") or command.ended)
    workers = children(command.pid)
    assert len(workers) == 2
    command.stop(signal.SIGKILL)
    command.wait()
    wait_until(lambda: not any(map(is_running, workers)), 10)
    command = start(clip, tmp_path / "out.mp4", "--resume", *PAIR)
    assert command.wait() == 0, command.log
    assert "note: resumed: " in command.log
    assert content(tmp_path / "out.mp4") == whole


def test_an_interruption_ends_all_and_says_how_to_go_on(start, whole, clip, tmp_path):
    command = start(clip, tmp_path / "out.mp4", *PAIR)
    wait_until(lambda: has_records(tmp_path / ".out.mp4.job") or command.ended)
    workers = children(command.pid)
    for pid in (command.pid, *workers):  # as a terminal does
        os.kill(pid, signal.SIGINT)
    assert command.wait(60) == 130
    assert not any(map(is_running, workers))
    lines = [line for line in command.log.splitlines() if "interrupted" in line]
    assert len(lines) == 1
    assert "--resume goes on from there" in lines[0]
    assert "Traceback" not in command.log
    # With other workers the threads stay those that it was begun with.
    command = start(clip, tmp_path / "out.mp4", "--resume", "--device", "cpu")
    assert command.wait() == 0, command.log
    assert content(tmp_path / "out.mp4") == whole


def test_workers_that_are_beginning_do_not_hear_an_interruption(start, whole, clip, tmp_path):
    command = start(clip, tmp_path / "out.mp4", *PAIR)
    wait_until(lambda: len(children(command.pid)) >= 2 or command.ended)
    while not has_records(tmp_path / ".out.mp4.job") and not command.ended:
        for pid in children(command.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
        time.sleep(0.05)
    assert command.wait() == 0, command.log
    assert "Traceback" not in command.log
    assert "another one does its shot" not in command.log
    assert content(tmp_path / "out.mp4") == whole


def test_one_shot_cannot_be_shared_out(start, media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", n=6)
    command = start(clip, tmp_path / "out.mp4", *PAIR)
    assert command.wait() == 0, command.log
    assert "note: the input is one shot, which one worker restores (--strategy window makes more of it)" in command.log


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ("all", "--devices all: there is no GPU here; use --devices cpu,cpu for two processes without"),
        ("cpu,cuda:99", "device 'cuda:99' cannot be used here"),
        ("cpu,,cpu", "device '' cannot be used here"),
        ("cpu,gpu", "device 'gpu' cannot be used here"),
    ],
)
def test_devices_that_are_not_here(restore, clip, tmp_path, monkeypatch, devices, message):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    error = restore(clip, tmp_path / "out.mp4", "--devices", devices, status=1)
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert not list(tmp_path.glob(".out*"))


def test_one_device_or_several(restore, clip, tmp_path):
    assert "not allowed with" in restore(clip, tmp_path / "out.mp4", "--device", "cpu", *PAIR, status=2)


@pytest.mark.parametrize("rank", [None, "0", "1"])
def test_torchrun_is_not_needed_any_more(run_tool, clip, tmp_path, monkeypatch, rank):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    status, out, error = run_tool("restore_video", clip, tmp_path / "out.mp4")
    assert (status, out) == (1, "")
    assert error == (
        ""  # one line is enough for all
        if rank == "1"
        else "error: restoring is not started by torchrun (WORLD_SIZE is set); one command starts a process for each "
        "GPU: --devices all, or --devices cuda:0,cuda:1\n"
    )


def test_several_inputs(run_tool, restore_error, weights, media, start, tmp_path):
    clips = [media.make_clip(tmp_path / name, n=3) for name in ("a.mp4", "b.mkv", "c.ts")]
    out = tmp_path / "out"
    assert "several inputs need a folder" in restore_error(*clips, out)
    assert "--gt and --comparison are for one input" in restore_error(*clips, f"{out}/", "--gt", clips[0])
    status, report, error = run_tool("restore_video", *clips[:2], out, "--weights", weights)
    assert status == 0, error
    assert report.count("3 frames") == 2
    command = start(*clips, out, "--resume", *PAIR)
    assert command.wait() == 0, command.log
    assert {path.name for path in out.iterdir()} == {"a.mp4", "b.mkv", "c.mp4"}
    (tmp_path / "other").mkdir()
    for name in ("b.mkv", "c.mp4"):
        (out / name).unlink()
    clips[1].write_bytes(b"no video")
    for options in ([], PAIR):
        status, report, error = run_tool("restore_video", *clips, out, "--weights", weights, "--resume", *options)
        assert status == 1
        assert "a.mp4: is there already" in report
        assert "error: 1 of 3 inputs failed: " + str(clips[1]) in error
        assert {path.name for path in out.iterdir()} == {"a.mp4", "c.mp4"}
        if not options:
            (out / "c.mp4").unlink()
    again = media.make_clip(tmp_path / "other" / "a.mp4", n=3)
    assert "would both become" in restore_error(clips[0], again, out)


def test_an_interruption_of_several_inputs(start, media, tmp_path):
    clips = [media.make_clip(tmp_path / f"{i}.mp4", n=60, size=(16, 24)) for i in range(3)]
    command = start(*clips, f"{tmp_path}/out/", *PAIR)
    wait_until(lambda: any(tmp_path.glob("out/.*.job/shots/*/*/swept")) or command.ended)
    command.stop(signal.SIGINT)
    assert command.wait(60) == 130
    lines = [line for line in command.log.splitlines() if "resume" in line or "error" in line]
    assert len(lines) == 1, command.log
    assert lines[0].endswith("what is done is kept: --resume goes on from there")
