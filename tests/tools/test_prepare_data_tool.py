"""`tools/prepare_data.py` as a person meets it: its words, its exit statuses, and being killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from published_sets import contents, frames_of, make_reds, make_vimeo, picture, write_clip

ROOT = Path(__file__).parents[2]


def start(*arguments: object) -> subprocess.Popen:
    """Begin the tool in a process of its own, which yields to the one that watches it, but not to all others."""
    command = ["nice", "-n", 5, sys.executable, ROOT / "tools" / "prepare_data.py", *arguments]
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1")
    return subprocess.Popen(
        list(map(str, command)),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell that runs the tests in the background has them ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


#: So many that a run can be stopped in the middle.
CLIPS = 24


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Clips that take a while."""
    folder = tmp_path_factory.mktemp("clips") / "set"
    for i in range(CLIPS):
        write_clip(folder / f"{i:02d}", [picture(10 * i + k, (160, 240)) for k in range(8)])
    return folder


def wait_for_clips(out: Path, process: subprocess.Popen, number: int) -> None:
    """Wait until so many clips are packed."""
    for _ in range(24000):
        if len(list(out.glob("packed/GT/*.npy"))) >= number or process.poll() is not None:
            return
        time.sleep(0.005)
    raise TimeoutError


def children(process: subprocess.Popen) -> list[int]:
    """Processes that a running one has begun."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    """Whether a process runs; one that ended and that nobody has asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_reds_from_the_command_line(run_tool, tmp_path):
    make_reds(tmp_path / "REDS")
    status, out, error = run_tool(
        "prepare_data", "reds", tmp_path / "REDS", "--degradation", "BI", "--pack", "--workers", 1
    )
    assert status == 0, error
    lines = out.splitlines()
    assert lines[0].split() == ["split", "clips", "frames", "size", "LR", "missing"]
    assert lines[1].startswith("train  4      12      24x16  BI of all  258 (003, 004, 005 and 255 more)")
    assert "to be made: 24 clips" in out
    prepared = tmp_path / "REDS_prepared"
    assert f"done: see {prepared / 'manifest.json'}" in lines
    np.testing.assert_array_equal(np.load(prepared / "packed/GT/000.npy"), frames_of("train_sharp/000", 3))


def test_faults_are_told_and_nothing_is_written(run_tool, tmp_path):
    make_vimeo(tmp_path / "vimeo90k")
    (tmp_path / "vimeo90k/sequences/00002/0001/im3.png").unlink()
    status, out, error = run_tool(
        "prepare_data", "vimeo90k", tmp_path / "vimeo90k", "--degradation", "BD", "--workers", 1
    )
    assert status == 1
    assert "frame 3 is missing between im2.png and im4.png" in out
    assert error.splitlines()[-1] == "error: 1 faults in 5 clips, see above; mend or remove those clips"
    assert not (tmp_path / "vimeo90k_prepared").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense", "."], "invalid choice: 'nonsense'"),
        (["folder", ".", "--degradation", "XX"], "invalid choice: 'XX'"),
        (["folder", ".", "--workers", "0"], "invalid number (1 or more) value: '0'"),
        (["material", ".", "--check-only"], "argument --check-only: it is for sets, not for material"),
        (["material", ".", "--pack"], "argument --pack: it is"),
        (["material", ".", "--degradation", "BI"], "argument --degradation: it is"),
        (["material", ".", "--split", "train"], "argument --split: it is"),
        (["material", ".", "--test-clips", "a"], "argument --test-clips: it is"),
        (["material", ".", "--val-clips", "a"], "argument --val-clips: it is"),
    ],
)
def test_wrong_arguments(run_tool, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, error = run_tool("prepare_data", *arguments)
    assert status == 2
    assert message in error


def test_empty_folder(run_tool, tmp_path):
    (tmp_path / "empty").mkdir()
    status, _, error = run_tool("prepare_data", "folder", tmp_path / "empty", "--pack")
    assert status == 1
    assert error.startswith(f"error: {tmp_path / 'empty'}: holds no clips")


def test_killed_and_taken_up_again(clips, tmp_path, run_tool):
    arguments = ["folder", clips, "--degradation", "BI", "--pack"]
    killed = [tmp_path / f"killed-{workers}" for workers in (1, 2)]
    for workers, out in enumerate(killed, start=1):
        process = start(*arguments, "--workers", workers, "--out", out)
        wait_for_clips(out, process, 5)
        workers_of_it = children(process)
        process.kill()
        process.communicate()
        made = len(list(out.glob("packed/GT/*.npy")))
        assert 5 <= made < CLIPS
        assert not (out / "manifest.json").exists()
        # Processes that nobody waits for end by themselves.
        deadline = time.monotonic() + 10
        while any(map(is_running, workers_of_it)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    for target in (*killed, tmp_path / "whole"):
        status, said, error = run_tool("prepare_data", *arguments, "--workers", 1, "--out", target)
        assert status == 0, error
    for out in killed:
        assert contents(out) == contents(tmp_path / "whole")
    assert len(contents(tmp_path / "whole")) == 2 * CLIPS + 3
    assert f"to be made: {2 * CLIPS} clips" in said


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_stopped(clips, tmp_path, number):
    out = tmp_path / "out"
    process = start("folder", clips, "--degradation", "BD", "--pack", "--workers", 2, "--out", out)
    wait_for_clips(out, process, 5)
    process.send_signal(number)
    _, error = process.communicate(timeout=120)
    word = "interrupted" if number == signal.SIGINT else "terminated"
    last = error.decode().splitlines()[-1]
    assert last == f"{word}; clips that are done are kept; the same command goes on from there"
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert "Traceback" not in error.decode()
    assert not [name for name in contents(out) if "partial" in name]
