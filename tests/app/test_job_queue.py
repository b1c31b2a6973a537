"""The queue: one job after the other, each stopped, gone on with, thrown away, and found again by another server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

import vsr_plugin
from vsr_plugin.app.command import Command
from vsr_plugin.app.queue import Job, JobQueue, State
from vsr_plugin.errors import MediaError, VSRError
from vsr_plugin.models import BasicVSRNet
from vsr_plugin.restoration.job import JobFolder

ROOT = Path(vsr_plugin.__file__).parents[1]
#: Plays ``restore``: says that it has begun, and waits for OUTPUT.go before it is done or, if that says so, fails.
STAND_IN = """
import json, os, pathlib, shutil, signal, sys, time

def end(*_):
    sys.exit("terminated; nothing was written under the final name; what is done is kept")

signal.signal(signal.SIGTERM, end)
output = pathlib.Path(sys.argv[2])
folder, gate = output.with_name(f".{output.name}.job"), pathlib.Path(f"{output}.go")
folder.mkdir(exist_ok=True)
(folder / "work").touch()
print(json.dumps(dict(pid=os.getpid(), frames=2.5, of=10, rate=2.0, seconds_left=3.75)), flush=True)
while not gate.exists() or not gate.read_text():
    time.sleep(0.01)
if (word := gate.read_text()) == "die":
    os.kill(os.getpid(), signal.SIGKILL)
if word != "go":
    print("a warning", file=sys.stderr)
    sys.exit(f"error: {word}")
output.write_text(" ".join(sys.argv[3:]))
shutil.rmtree(folder)
print(json.dumps(dict(output=str(output), frames=10)))
"""
SERVER = """
import pathlib, sys, threading
from vsr_plugin.app.queue import JobQueue
folder = pathlib.Path(sys.argv[1])
with JobQueue(folder / ".vsr_app", sys.argv[2:]) as queue:
    queue.add(folder / "in.mp4", folder / "a.mp4", ["--tile", "64"])
    threading.Event().wait()
"""


def until(is_so: Callable[[], object]) -> None:
    """Wait for what is sure to come, on a busy machine late."""
    end = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


class Bench:
    """A folder with a queue, whose jobs wait until they are let go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "stand_in.py").write_text(STAND_IN)
        self.command = [sys.executable, str(folder / "stand_in.py")]

    def open(self) -> JobQueue:
        return JobQueue(self.folder / ".vsr_app", self.command)

    def add(self, queue: JobQueue, name: str) -> Job:
        return queue.add(self.folder / "in.mp4", self.folder / name, ["--tile", "64"])

    def let(self, name: str, word: str = "go") -> None:
        (self.folder / f"{name}.go").write_text(word)

    def work(self, name: str) -> bool:
        return (self.folder / f".{name}.job").exists()

    def state(self, queue: JobQueue, number: int) -> Callable[[State], Callable[[], bool]]:
        return lambda state: lambda: queue.jobs()[number - 1].state is state

    def begins(self, queue: JobQueue, number: int = 1) -> None:
        until(lambda: queue.jobs()[number - 1].report.frames == 2.5)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_jobs_run_one_after_the_other(bench, tmp_path) -> None:
    with bench.open() as queue:
        bench.add(queue, "a.mp4")
        bench.add(queue, "b.mp4")
        bench.begins(queue)
        first, second = queue.jobs()
        assert (first.state, second.state) == (State.RUNNING, State.WAITING)
        assert (first.report.of, first.report.rate, first.report.seconds_left) == (10, 2.0, 3.75)
        assert not bench.work("b.mp4")
        bench.let("b.mp4")
        bench.let("a.mp4")
        until(lambda: [job.state for job in queue.jobs()] == [State.DONE] * 2)
        assert (tmp_path / "a.mp4").read_text() == "--tile 64 --progress json"
        assert queue.jobs()[0].report.output == str(tmp_path / "a.mp4")
        queue.cancel(1)  # which only takes it out of the list
        assert [job.number for job in queue.jobs()] == [2]
        assert (tmp_path / "a.mp4").exists()


def test_a_paused_job_lets_the_next_one_run_and_goes_on_later(bench, tmp_path) -> None:
    with bench.open() as queue:
        for name in ("a.mp4", "b.mp4"):
            bench.add(queue, name)
        bench.begins(queue)
        queue.pause(1)
        bench.begins(queue, 2)
        assert queue.jobs()[0].state is State.PAUSED
        assert bench.work("a.mp4")
        queue.go_on(1)
        bench.let("a.mp4")
        bench.let("b.mp4")
        until(lambda: [job.state for job in queue.jobs()] == [State.DONE] * 2)
        assert (tmp_path / "a.mp4").read_text().endswith(" --resume")
        assert not (tmp_path / "b.mp4").read_text().endswith(" --resume")


def test_a_job_that_waits_can_be_paused_and_cancelled(bench) -> None:
    with bench.open() as queue:
        for name in ("a.mp4", "b.mp4", "c.mp4"):
            bench.add(queue, name)
        queue.pause(2)
        queue.cancel(3)
        assert [job.number for job in queue.jobs()] == [1, 2]
        assert queue.jobs()[1].state is State.PAUSED


def test_cancelling_deletes_what_was_done(bench, tmp_path) -> None:
    with bench.open() as queue:
        bench.add(queue, "a.mp4")
        bench.begins(queue)
        queue.cancel(1)
        until(lambda: not queue.jobs())
        assert not bench.work("a.mp4")
        assert not (tmp_path / "a.mp4").exists()
        assert {path.name for path in (tmp_path / ".vsr_app").iterdir()} <= {"queue.json", ".lock"}


def test_cancelling_leaves_the_work_of_others(bench, tmp_path) -> None:
    """A folder that another run has left, at which its own command has not begun to work."""
    JobFolder(tmp_path / "a.mp4").path.mkdir()
    (tmp_path / "stand_in.py").write_text("import sys; sys.exit(f'error: refused with {sys.argv[-1]}')")
    with bench.open() as queue:
        bench.add(queue, "a.mp4")
        until(bench.state(queue, 1)(State.FAILED))
        assert queue.jobs()[0].message == "refused with json"
        queue.go_on(1)  # which takes up what is there, and does not make it the job's own
        until(lambda: queue.jobs()[0].message == "refused with --resume")
        queue.cancel(1)
        assert not queue.jobs()
    assert bench.work("a.mp4")


@pytest.mark.parametrize(
    ("word", "message"),
    [("out.mp4: writing failed at frame 3; free space", "out.mp4: writing failed"), ("die", "killed by signal 9")],
)
def test_a_failed_job_says_why_and_the_next_one_runs(bench, word, message) -> None:
    with bench.open() as queue:
        for name in ("a.mp4", "b.mp4"):
            bench.add(queue, name)
        bench.let("a.mp4", word)
        bench.let("b.mp4")
        until(bench.state(queue, 2)(State.DONE))
        failed = queue.jobs()[0]
        assert failed.state is State.FAILED
        assert message in failed.message
        bench.let("a.mp4")
        queue.go_on(1)
        until(bench.state(queue, 1)(State.DONE))


def test_a_server_that_ends_stops_its_job_and_the_next_one_goes_on(bench, tmp_path) -> None:
    with bench.open() as queue:
        bench.add(queue, "a.mp4")
        bench.begins(queue)
    assert not Command(tmp_path / ".vsr_app" / "1.log").is_running
    bench.let("a.mp4")
    with bench.open() as queue:
        until(bench.state(queue, 1)(State.DONE))
    assert (tmp_path / "a.mp4").read_text() == "--tile 64 --progress json --resume"


@pytest.fixture
def killed_server(bench) -> int:
    """A server was killed while its only job ran; the number of the job's process."""
    arguments = [sys.executable, "-c", SERVER, str(bench.folder), *bench.command]
    server = subprocess.Popen(arguments, env=os.environ | {"PYTHONPATH": str(ROOT)})
    log = Command(bench.folder / ".vsr_app" / "1.log")
    until(lambda: log.report().pid)
    server.kill()
    server.wait()
    return log.report().pid


def test_a_job_that_runs_on_is_found_again(bench, killed_server, tmp_path) -> None:
    with bench.open() as queue:
        bench.begins(queue)
        bench.let("a.mp4")
        until(bench.state(queue, 1)(State.DONE))
    assert (tmp_path / "a.mp4").read_text() == "--tile 64 --progress json"


def test_a_job_that_runs_on_can_be_paused(bench, killed_server) -> None:
    with bench.open() as queue:
        until(bench.state(queue, 1)(State.RUNNING))
        queue.pause(1)
        until(bench.state(queue, 1)(State.PAUSED))
        assert bench.work("a.mp4")
    assert not Command(bench.folder / ".vsr_app" / "1.log").is_running


def test_a_job_that_came_to_its_end_alone_is_done(bench, killed_server, tmp_path) -> None:
    bench.let("a.mp4")
    until(lambda: not Command(tmp_path / ".vsr_app" / "1.log").is_running)
    with bench.open() as queue:
        until(bench.state(queue, 1)(State.DONE))
    assert (tmp_path / "a.mp4").read_text() == "--tile 64 --progress json"


def test_after_a_reboot_a_job_is_taken_up(bench, killed_server, tmp_path) -> None:
    os.kill(killed_server, signal.SIGKILL)
    until(lambda: not Command(tmp_path / ".vsr_app" / "1.log").is_running)
    bench.let("a.mp4")
    with bench.open() as queue:
        until(bench.state(queue, 1)(State.DONE))
    assert (tmp_path / "a.mp4").read_text() == "--tile 64 --progress json --resume"


def test_two_servers_in_one_folder_are_refused(bench) -> None:
    with bench.open(), pytest.raises(VSRError, match="another vsr-plugin app is at work there"), bench.open():
        pass
    with bench.open():
        pass


def test_an_output_is_written_by_one_job_alone(bench, tmp_path) -> None:
    (tmp_path / "old.mp4").touch()
    with bench.open() as queue:
        bench.add(queue, "a.mp4")
        with pytest.raises(VSRError, match=r"a\.mp4: is what another job of the queue writes"):
            bench.add(queue, "a.mp4")
        with pytest.raises(MediaError, match=r"old\.mp4: exists already"):
            bench.add(queue, "old.mp4")
        assert len(queue.jobs()) == 1


def test_a_damaged_list_is_named(bench, tmp_path) -> None:
    (tmp_path / ".vsr_app").mkdir()
    (tmp_path / ".vsr_app" / "queue.json").write_text("[{")
    with pytest.raises(VSRError, match=r"queue\.json: is damaged; delete it"), bench.open():
        pass


@pytest.mark.slow
def test_the_command_itself_is_paused_and_gone_on_with(tmp_path, media) -> None:
    """With a real network, on real files: what comes out is what comes out of a run that is not stopped."""
    torch.manual_seed(0)
    weights = dict(state_dict=BasicVSRNet(mid_channels=4, num_blocks=1, spynet_width=4).state_dict())
    torch.save(weights, tmp_path / "small.pth")
    clip = media.make_clip(tmp_path / "in.mp4", n=100, size=(32, 48))
    options = ["--weights", str(tmp_path / "small.pth"), "--device", "cpu", "--clean", "off"]
    with JobQueue(tmp_path / ".vsr_app") as queue:
        queue.add(clip, tmp_path / "out.mp4", options)
        until(lambda: queue.newest(1))
        queue.pause(1)
        until(lambda: queue.jobs()[0].state is not State.RUNNING)
        if queue.jobs()[0].state is State.PAUSED:  # else it was quicker than this test
            assert not (tmp_path / "out.mp4").exists()
            with Image.open(queue.newest(1)) as picture:
                assert picture.size == (192, 128)
            queue.go_on(1)
        until(lambda: queue.jobs()[0].state not in (State.WAITING, State.RUNNING))
        job = queue.jobs()[0]
        assert (job.state, job.message) == (State.DONE, "")
        assert (job.report.frames, job.report.of) == (100, 100)
    assert len(media.probe(tmp_path / "out.mp4").pts) == 100
    assert not (tmp_path / ".out.mp4.job").exists()
