"""Restoring on a Ray cluster: the file of one process, wherever shots are restored and whatever nodes do."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from jobs_of_shots import at_once, one_thread, pictures

from vsr_plugin.models import BasicVSRNet
from vsr_plugin.models.cleaning import clean_by
from vsr_plugin.restoration import RestoreOptions, restore_video, sending
from vsr_plugin.restoration.executors import ThisProcess
from vsr_plugin.restoration.options import ClusterOptions

pytest.importorskip("ray")
on_cluster = pytest.mark.cluster

WINDOWS = dict(strategy="window", window=12, overlap=5, scene_cuts="off")
#: Seconds after which a test has failed rather than hangs.
GUARD = 150


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return BasicVSRNet(mid_channels=4, num_blocks=1, spynet_width=4).eval()


@pytest.fixture(scope="module")
def running(request):
    from vsr_plugin.cluster.local import local_cluster

    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(local_cluster(nodes=2))
        except Exception as error:  # Ray's own, which needs ports and shared memory
            if request.config.getoption("markexpr").startswith("cluster"):
                raise  # make test-cluster is there to find that out
            pytest.skip(f"Ray does not start on this machine: {error}")
        yield cluster


@pytest.fixture
def executor(running):
    from vsr_plugin.restoration.cluster import OnCluster

    with OnCluster(ClusterOptions(running.address)) as executor:
        yield executor


@pytest.fixture
def elsewhere(monkeypatch):
    """Nodes see none of the files that the driver names."""
    monkeypatch.setattr(sending, "known_files", lambda paths: tuple((f"/no{path}", 0, 0) for path in paths))


def alone(path, output, net, options=RestoreOptions()):
    """What one process with one thread, as a task on the cluster has it, makes of it."""
    return restore_video(path, output, net, options, executor=one_thread())


@pytest.fixture
def clip(media, tmp_path):
    options = dict(g="6", crf="10")
    return media.make_clip(tmp_path / "in.mp4", n=40, size=(16, 24), pictures=pictures(9, 12, 8, 11), options=options)


def compare(net, executor, path, tmp_path, suffix=".mp4", **settings):
    """Restore with and without the cluster; returns the notes that come with it."""
    done, notes = [], []
    one = alone(path, tmp_path / f"one{suffix}", net, RestoreOptions(**settings))
    two = restore_video(
        path, tmp_path / f"two{suffix}", net, RestoreOptions(**settings), executor=executor, progress=done.append,
        on_note=notes.append,
    )  # fmt: skip
    assert sum(done) == two.num_frames == one.num_frames
    # On a machine that is busy Ray may take a node for dead.
    assert {note for note in two.notes if not note.endswith("another worker does it")} == set(one.notes)
    assert two.quality == one.quality
    if suffix:
        assert (tmp_path / f"two{suffix}").read_bytes() == (tmp_path / f"one{suffix}").read_bytes()
    else:
        names = sorted(path.name for path in (tmp_path / "one").iterdir())
        assert names == sorted(path.name for path in (tmp_path / "two").iterdir())
        assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)
    assert not list(tmp_path.glob(".*.job"))
    return notes


def test_the_file_is_that_of_one_process(net, executor, clip, tmp_path):
    compare(net, executor, clip, tmp_path)


@on_cluster
@pytest.mark.parametrize("settings", [WINDOWS, dict(start=3, num_frames=30)], ids=str)
def test_windows_and_a_part(net, executor, clip, tmp_path, settings):
    compare(net, executor, clip, tmp_path, **settings)


def images(folder, frames, side=1, alpha=False):
    folder.mkdir()
    for i, frame in enumerate(frames):
        image = cv2.resize(frame, (24 * side, 16 * side))
        image = np.dstack([image, image[..., :1]]) if alpha else image
        cv2.imwrite(str(folder / f"{i:03d}.png"), image)
    return folder


@on_cluster
@pytest.mark.parametrize("place", ["seen", "not seen"])
def test_images_with_ground_truth(net, executor, tmp_path, request, place):
    if place == "not seen":
        request.getfixturevalue("elsewhere")
    path = images(tmp_path / "in", pictures(36), alpha=True)
    gt = images(tmp_path / "gt", pictures(36), side=4)
    compare(net, executor, path, tmp_path, "", **WINDOWS, gt=gt, comparison=tmp_path / "picture.png", overwrite=True)
    assert (tmp_path / "picture.png").exists()


@on_cluster
@pytest.mark.parametrize("kind", ["mp4", "ts", "windows", "deinterlaced"])
def test_nodes_that_do_not_see_the_input(net, executor, media, tmp_path, elsewhere, kind, monkeypatch):
    ways = []
    send = sending.Sender.send

    def noted(self, *arguments):
        sent = send(self, *arguments)
        ways.append(sent.way.name)
        return sent

    monkeypatch.setattr(sending.Sender, "send", noted)

    path = media.make_clip(
        tmp_path / ("in.ts" if kind == "ts" else "in.mp4"), n=40, size=(32, 48),
        pictures=pictures(9, 12, 8, 11, size=(32, 48)), audio="aac", options=dict(g="6", crf="10"),
    )  # fmt: skip
    settings = dict(windows=WINDOWS, deinterlaced=dict(deinterlace="on"))
    compare(net, executor, path, tmp_path, **settings.get(kind, {}))
    # Where frames are made of several others, decoding cannot begin in the middle.
    assert set(ways) == {"PATH", "FRAMES" if kind == "deinterlaced" else "BYTES"}


@on_cluster
def test_two_videos_one_of_them_damaged(net, executor, clip, media, tmp_path):
    broken = images(tmp_path / "broken", pictures(8))
    files = sorted(broken.iterdir())
    files[5].write_bytes(files[5].read_bytes()[:150])  # its header can be read
    single = media.make_clip(tmp_path / "single.mp4", n=7, size=(16, 24))
    for path in (clip, single):
        alone(path, tmp_path / f"one-{path.name}", net)
    errors = at_once(
        (clip, broken, single),
        lambda path: restore_video(path, tmp_path / f"two-{path.name}", net, executor=executor),
        GUARD,
    )
    assert list(errors) == ["broken"]
    assert errors["broken"].startswith(f"{files[5]}: ")
    for path in (clip, single):
        assert (tmp_path / f"two-{path.name}").read_bytes() == (tmp_path / f"one-{path.name}").read_bytes()
    # That of images is not cleaned, and cleaning is told in what steps either video was compressed.
    assert len(executor._nets) == 3


@on_cluster
def test_networks_of_a_long_queue_are_given_up(net, executor):
    with_steps = [clean_by(net, 1.0, step) for step in (4.0, 5.0, 6.0, 7.0, 8.0)]
    first, *_, last = [executor._put_net(each) for each in with_steps]
    assert executor._put_net(with_steps[-1]) == last
    digest, reference = executor._put_net(with_steps[0])
    assert digest == first[0]
    assert reference != first[1]  # given up, and put anew
    assert len(executor._nets) == 4


@on_cluster
def test_a_node_is_killed_in_the_middle_of_a_shot(net, running, clip, tmp_path):
    """The only one that is left, so that it is at work; a new one goes on."""
    from vsr_plugin.restoration.cluster import OnCluster

    running.kill(running.nodes.pop())
    with OnCluster(ClusterOptions(running.address)) as executor:
        done, notes = [], []

        def progress(count):
            done.append(count)
            if sum(done) >= 3 and len(running.nodes) == 1 and not killed:
                killed.append(running.nodes.pop())
                running.kill(killed[0])
                running.nodes += [running.add(), running.add()]

        killed = []
        alone(clip, tmp_path / "one.mp4", net)
        restore_video(clip, tmp_path / "two.mp4", net, executor=executor, progress=progress, on_note=notes.append)
    assert (tmp_path / "two.mp4").read_bytes() == (tmp_path / "one.mp4").read_bytes()
    assert (sum(done), len(killed)) == (40, 1)
    assert any(line.endswith(": its node is gone; another worker does it") for line in notes)


DRIVER = """
import sys, torch
from vsr_plugin.models import BasicVSRNet
from vsr_plugin.models.cleaning import clean_by
from vsr_plugin.restoration import restore_video
from vsr_plugin.restoration.cluster import OnCluster
from vsr_plugin.restoration.options import ClusterOptions
torch.manual_seed(0)
net = BasicVSRNet(mid_channels=4, num_blocks=1, spynet_width=4).eval()
with OnCluster(ClusterOptions(sys.argv[1])) as executor:
    restore_video(sys.argv[2], sys.argv[3], net, executor=executor)
"""


@on_cluster
@pytest.mark.parametrize("resumed", ["alone", "on the cluster"])
def test_the_driver_is_killed_and_resumed(net, running, media, tmp_path, resumed, request):
    lengths = [20] * 12
    path = media.make_clip(
        tmp_path / "in.mp4", n=240, size=(16, 24), pictures=pictures(*lengths), options=dict(g="6", crf="10")
    )
    alone(path, tmp_path / "one.mp4", net)
    records = tmp_path / ".two.mp4.job" / "records"
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, running.address, path, tmp_path / "two.mp4"])
    end = time.monotonic() + GUARD
    while not list(records.glob("*.json")):
        assert driver.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert not (tmp_path / "two.mp4").exists()
    begun = sorted(path.name for path in records.glob("*.json"))
    executor = ThisProcess() if resumed == "alone" else request.getfixturevalue("executor")
    result = restore_video(path, tmp_path / "two.mp4", net, RestoreOptions(resume=True), executor=executor)
    assert any(note.startswith("resumed: ") for note in result.notes)
    assert begun
    assert (tmp_path / "two.mp4").read_bytes() == (tmp_path / "one.mp4").read_bytes()


@on_cluster
def test_the_command(running, clip, tmp_path, run_tool, official):
    two = tmp_path / "two.mp4"
    small = ["--weights", official, "--num-frames", 3]
    status, out, err = run_tool("restore_video", clip, two, *small, "--cluster", running.address)
    assert (status, two.exists()) == (0, True), err
    assert f"on the cluster at {running.address} (2 at a time, 1 core each)" in out
    one = tmp_path / "one.mp4"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert run_tool("restore_video", clip, one, *small)[0] == 0
    torch.set_num_threads(threads)
    assert one.read_bytes() == two.read_bytes()
    assert os.listdir(tmp_path).count(".two.mp4.job") == 0


@on_cluster
def test_a_folder_of_videos_is_one_queue(running, media, tmp_path, run_tool, official):
    films = tmp_path / "films"
    films.mkdir()
    for i in (1, 2, 10):
        media.make_clip(films / f"{i}.mp4", n=3, size=(16, 24))
    whole = (films / "1.mp4").read_bytes()
    (films / "2.mp4").write_bytes(whole[: len(whole) // 3])
    command = ["restore_video", films, f"{tmp_path / 'out'}/", "--weights", official, "--cluster", running.address]
    status, out, err = run_tool(*command)
    assert status == 1
    assert err.splitlines()[-1] == f"error: 1 of 3 inputs failed: {films / '2.mp4'}"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1.mp4", "10.mp4"]
    assert f"{tmp_path / 'out' / '10.mp4'}: 3 frames" in out
    assert "all 3: " in err


def test_the_command_without_a_cluster(clip, tmp_path, run_tool, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    status, _, err = run_tool("restore_video", clip, tmp_path / "out.mp4", "--cluster", "auto")
    assert status == 1
    assert err.startswith("error: --cluster auto: there is no Ray cluster at ")
    assert err.count("\n") == 1
    status, _, err = run_tool("restore_video", clip, tmp_path / "out.mp4", "--task-gpus", "1")
    assert (status, "they are for --cluster" in err) == (2, True)
    assert [path.name for path in Path(tmp_path).iterdir()] == ["in.mp4"]


def test_the_command_without_ray(clip, tmp_path, run_tool, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("vsr_plugin") and "cluster" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    status, out, err = run_tool("restore_video", clip, tmp_path / "out.mp4", "--cluster", "auto")
    assert (status, out) == (1, "")
    assert err == (
        "error: --cluster needs Ray, which is not installed here; pip install ray, the same version here and on every "
        "node\n"
    )
