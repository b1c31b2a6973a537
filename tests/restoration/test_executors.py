"""Worker processes: the same file as from one, whatever happens to them."""

import os
import signal

import cv2
import jobs_of_shots
import numpy as np
import pytest
import torch
from jobs_of_shots import at_once, one_thread, pictures

from vsr_plugin.errors import VSRError, hint_of
from vsr_plugin.models import BasicVSRNet
from vsr_plugin.restoration import RestoreOptions, restore_video
from vsr_plugin.restoration.executors import WorkerProcesses

WINDOWS = dict(strategy="window", window=12, overlap=5)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return BasicVSRNet(mid_channels=4, num_blocks=1, spynet_width=4).eval()


two_threads = pytest.fixture(autouse=True, scope="module")(jobs_of_shots.two_threads)


@pytest.fixture(scope="module")
def pair():
    with WorkerProcesses([torch.device("cpu")] * 2) as workers:
        yield workers


@pytest.fixture
def workers():
    """Two that may be killed."""
    with WorkerProcesses([torch.device("cpu")] * 2) as workers:
        yield workers
    assert not any(handler.is_alive() for handler in workers._handlers)


@pytest.fixture
def clip(media, tmp_path):
    return media.make_clip(
        tmp_path / "in.mp4", n=40, size=(16, 24), pictures=pictures(9, 12, 8, 11), options=dict(g="6", crf="10")
    )


@pytest.mark.parametrize("settings", [dict(), dict(**WINDOWS, scene_cuts="off"), dict(start=3, num_frames=30)], ids=str)
def test_two_workers_give_the_file_of_one(net, pair, clip, tmp_path, settings):
    options = RestoreOptions(**settings)
    one = restore_video(clip, tmp_path / "one.mp4", net, options, executor=one_thread())
    done, notes = [], []
    two = restore_video(
        clip, tmp_path / "two.mp4", net, options, executor=pair, progress=done.append, on_note=notes.append
    )
    assert (tmp_path / "two.mp4").read_bytes() == (tmp_path / "one.mp4").read_bytes()
    assert (two.num_frames, set(two.notes)) == (one.num_frames, set(one.notes))
    assert sum(done) == two.num_frames
    assert set(notes) <= set(two.notes)
    assert {path.name for path in tmp_path.iterdir()} == {"in.mp4", "one.mp4", "two.mp4"}


def test_quality_and_comparison_are_those_of_one(net, pair, tmp_path):
    for name, side in (("in", 1), ("gt", 4)):
        (tmp_path / name).mkdir()
        for i, frame in enumerate(pictures(20)):
            image = cv2.resize(frame, (24 * side, 16 * side))
            cv2.imwrite(
                str(tmp_path / name / f"{i:03d}.png"), np.dstack([image, image[..., :1]]) if side == 1 else image
            )
    figures = []
    for name, executor in (("one", one_thread()), ("two", pair)):
        options = RestoreOptions(**WINDOWS, gt=tmp_path / "gt", comparison=tmp_path / f"{name}.png")
        result = restore_video(tmp_path / "in", tmp_path / name, net, options, executor=executor)
        figures.append(result.quality.rows)
    assert figures[0] == figures[1]
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_several_inputs_at_a_time(net, pair, clip, media, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for i, frame in enumerate(pictures(8)):
        cv2.imwrite(str(broken / f"{i}.png"), frame)
    images = sorted(broken.iterdir())
    images[5].write_bytes(images[5].read_bytes()[:150])  # its header can be read
    single = media.make_clip(tmp_path / "single.mp4", n=7, size=(16, 24))
    for path in (clip, single):
        restore_video(path, tmp_path / f"one-{path.name}", net, executor=one_thread())
    errors = at_once(
        (clip, broken, single), lambda path: restore_video(path, tmp_path / f"two-{path.name}", net, executor=pair), 120
    )
    assert list(errors) == ["broken"]
    assert images[5].name in errors["broken"]
    for path in (clip, single):
        assert (tmp_path / f"two-{path.name}").read_bytes() == (tmp_path / f"one-{path.name}").read_bytes()
    assert len(pair.pids) == 2


def killing(pids, at: float, done: list[float]):
    """A progress callback that kills processes once so many frames are done."""

    def progress(count):
        done.append(count)
        if sum(done) >= at and not killed:
            killed.extend(pids())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    killed = []
    return progress


@pytest.mark.parametrize("settings", [dict(), WINDOWS], ids=str)
def test_a_worker_is_killed(net, workers, clip, tmp_path, settings):
    restore_video(clip, tmp_path / "one.mp4", net, RestoreOptions(**settings), executor=one_thread())
    done, notes = [], []
    progress = killing(lambda: workers.pids[:1], 8, done)
    options = dict(executor=workers, progress=progress, on_note=notes.append)
    result = restore_video(clip, tmp_path / "two.mp4", net, RestoreOptions(**settings), **options)
    assert (tmp_path / "two.mp4").read_bytes() == (tmp_path / "one.mp4").read_bytes()
    assert "worker 0 (cpu) was killed by signal 9; another one does its shot" in notes
    assert (sum(done), result.num_frames, len(workers.pids)) == (40, 40, 1)


def test_all_workers_are_killed(net, workers, clip, tmp_path):
    restore_video(clip, tmp_path / "one.mp4", net, executor=one_thread())
    progress = killing(lambda: workers.pids, 25, [])
    with pytest.raises(VSRError, match="all 2 worker processes were ended before the work was done") as error:
        restore_video(clip, tmp_path / "two.mp4", net, executor=workers, progress=progress)
    assert "--resume" in hint_of(error.value)
    assert not (tmp_path / "two.mp4").exists()
    assert (tmp_path / ".two.mp4.job" / "shots.json").exists()
    with pytest.raises(VSRError, match="all 2 worker processes were ended"):
        restore_video(clip, tmp_path / "two.mp4", net, RestoreOptions(resume=True), executor=workers)
    # It goes on with the threads that it was begun with.
    restore_video(clip, tmp_path / "two.mp4", net, RestoreOptions(resume=True))
    assert (tmp_path / "two.mp4").read_bytes() == (tmp_path / "one.mp4").read_bytes()


def test_an_interruption_ends_all(net, clip, tmp_path):
    def interrupt(count):
        raise KeyboardInterrupt

    with WorkerProcesses([torch.device("cpu")] * 2) as workers:
        with pytest.raises(KeyboardInterrupt):
            restore_video(clip, tmp_path / "out.mp4", net, executor=workers, progress=interrupt)
        assert not any(handler.tasks for handler in workers._handlers)
    assert all(handler._process.exitcode == -signal.SIGKILL for handler in workers._handlers)


def test_workers_share_memory_and_threads(net, monkeypatch):
    monkeypatch.setattr("vsr_plugin.restoration.executors.default_budget", lambda device: 2**33)
    workers = WorkerProcesses([torch.device("cuda", 0), torch.device("cuda", 1), torch.device("cuda", 1)])
    assert workers.default_budget(net) == 2**32
    assert (workers.workers, workers.default_threads()) == (3, 1)
