"""Every input ends in a result or in one clear line; a short part of what ``fuzz.py`` does for as long as one likes."""

import random
import shutil

import pytest
from fuzzing.attempts import FuzzingError, attempt
from fuzzing.flips import damaged, seeds
from fuzzing.structures import Edit, Structure, make, structures
from hypothesis import HealthCheck, given, settings

from vsr_plugin.errors import MediaError


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(structures())
def test_odd_videos(folder, structure):
    source, target = folder / f"input{structure.suffix}", folder / f"output{structure.target}"
    make(structure, source)
    try:
        attempt(source, target, first=structure.first, count=structure.count)
    finally:
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)


def test_a_file_of_each_kind(folder):
    for path in seeds(folder / "seeds"):
        assert attempt(path, folder / f"{path.name}.mkv") == "done"


def test_damaged_files(folder):
    """In processes of their own, which what reads media may take down with it."""
    pytest.importorskip("resource")  # which limits and measures processes, on Unix
    from fuzzing.fuzz import Runner

    runner = Runner(folder / "kept", seed=0)
    for seconds in (5, 20, 60):  # of which a slow machine takes most to start a process
        runner.run(seconds)
        if sum(runner.counts.values()) > 5:
            break
    assert runner.faults == []
    assert sum(runner.counts.values()) > 5


def test_damage_is_the_same_for_the_same_seed():
    data = bytes(range(256)) * 20
    assert damaged(data, random.Random(3)) == damaged(data, random.Random(3)) != data


@pytest.mark.parametrize(
    "edit",
    [
        Edit("video", 5, "shift", 4_000_000),
        Edit("audio", 5, "nudge", 90_000_000),
        Edit("video", 5, "shift", -90_000_000),
        Edit("audio", 5, "shift", 4_000_000),
    ],
)
@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
@pytest.mark.parametrize("target", [".mp4", ".avi", ".mkv"])
def test_times_that_no_container_can_hold(folder, suffix, edit, target):
    """What was found: a frame that is shown for weeks, which was lost when all were computed."""
    structure = Structure(
        suffix, "libx264", "mp3" if suffix == ".mkv" else "mp2", b_frames=0, frames=20, start=0, audio_start=0,
        edits=(edit,), parts=(), cut=1000, target=target, first=0, count=None,
    )  # fmt: skip
    make(structure, folder / f"input{suffix}")
    outcome = attempt(folder / f"input{suffix}", folder / f"output{target}")
    # Long gaps in sound are the one thing that AVI cannot have.
    assert outcome == "done" or (target == ".avi" and "--no-audio" in outcome)


def test_what_a_wrong_result_is_told_as(folder, monkeypatch):
    path = next(path for path in seeds(folder / "seeds") if path.name == "plain.mp4")
    monkeypatch.setattr("fuzzing.attempts.MOST_FRAMES", 3)
    assert attempt(path, folder / "output.mp4") == "done"
    monkeypatch.setattr("vsr_plugin.media.video_container.VideoContainer.close", lambda self, end: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        attempt(path, folder / "other.mp4")

    def fail(self, end):
        raise MediaError("a line")

    monkeypatch.setattr("vsr_plugin.media.video_container.VideoContainer.close", fail)
    with pytest.raises(FuzzingError, match="lost after 3 frames: a line"):
        attempt(path, folder / "third.mp4")
