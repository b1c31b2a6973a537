"""Tasks on a cluster: their order, what becomes of them when nodes go and come, and what a cluster is refused for."""

import os
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from vsr_plugin.errors import VSRError

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.cluster

from vsr_plugin.cluster import node  # noqa: E402
from vsr_plugin.cluster.connection import Cluster  # noqa: E402
from vsr_plugin.cluster.local import local_cluster  # noqa: E402
from vsr_plugin.cluster.tasks import MOST_ATTEMPTS, Task, TaskQueue  # noqa: E402

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def running():
    with local_cluster(nodes=1) as cluster:
        yield cluster


@pytest.fixture
def cluster(running):
    with Cluster(running.address) as cluster:
        yield cluster


class Job(Task):
    def __init__(self, *arguments, priority=0.0):
        self._arguments, self.priority = arguments, priority
        self.received = []

    def arguments(self, stop):
        return self._arguments

    def receive(self, kind, value):
        self.received.append((kind, value))
        return False

    def lose(self):
        self.received.clear()

    def __str__(self):
        return "the task"


def run(cluster, body, tasks, on_note=lambda line: None, queue=None):
    (queue or TaskQueue(cluster)).run(body, tasks, Event(), on_note)


def note_order(send, log, name):
    with open(log, "a") as file:
        file.write(f"{name}\n")


def test_the_longest_comes_first(cluster, tmp_path):
    log = tmp_path / "log"
    jobs = [Job(log, size, priority=size) for size in (1, 5, 3, 9, 2)]
    # All are known before the first is handed out.
    cluster_slots, known = cluster.slots, Event()
    cluster.slots = lambda: cluster_slots() if known.is_set() else -1

    def tasks():
        yield from jobs
        known.set()

    run(cluster, note_order, tasks())
    assert log.read_text().split() == ["9", "5", "3", "2", "1"]


def report(send):
    send("progress", 0.5)
    send("note", "hello")
    send("progress", 0.5)
    send("progress", 1.0)


def test_messages_come_in_order_and_progress_is_added_up(cluster):
    job = Job()
    run(cluster, report, [job])
    assert [kind for kind, _ in job.received if kind != "progress"] == ["note", "done"]
    assert sum(value for kind, value in job.received if kind == "progress") == 2
    assert job.received[0] == ("progress", 0.5)


def fail(send, error):
    raise error


class OddError(Exception):
    def __init__(self, one, two):
        super().__init__("odd")


def fail_oddly(send):
    raise OddError(1, 2)


def test_what_a_task_raises_comes_out(cluster):
    with pytest.raises(VSRError, match=r"^in\.mp4: is damaged$"):
        run(cluster, fail, [Job(VSRError("in.mp4: is damaged"))])
    with pytest.raises(RuntimeError, match="OddError: odd"):
        run(cluster, fail_oddly, [Job()])
    # And it does no harm to what comes after.
    run(cluster, report, [Job()])


def test_a_node_that_cannot_even_begin_is_reported(cluster):
    with pytest.raises(VSRError, match=r"^the task: vsr_plugin cannot be run on a node that .*missing 1 required"):
        run(cluster, fail, [Job(OddError(1, 2))])


def test_what_making_the_arguments_raises_comes_out(cluster):
    class Unreadable(Job):
        def arguments(self, stop):
            raise VSRError("in.mp4: is gone")

    with pytest.raises(VSRError, match="is gone"):
        run(cluster, report, [Job(), Unreadable(priority=-1)])


def test_tasks_before_an_error_of_their_source_are_done(cluster):
    job = Job()

    def tasks():
        yield job
        raise VSRError("in.mp4: ends here")

    with pytest.raises(VSRError, match="ends here"):
        run(cluster, report, tasks())
    assert job.received[-1][0] == "done"


def crash(send, counter):
    with open(counter, "a") as file:
        file.write("x")
    send("progress", 1.0)
    while os.path.getsize(counter) >= 2:
        return
    os.kill(os.getpid(), 9)


def test_a_killed_worker_s_task_is_done_again(cluster, tmp_path):
    job, notes = Job(tmp_path / "count"), []
    run(cluster, crash, [job], notes.append)
    assert notes == ["the task: its worker was killed; another worker does it"]
    assert (job.attempts, job.received) == (1, [("progress", 1.0), job.received[-1]])


def always_crash(send):
    os.kill(os.getpid(), 9)


def test_a_task_that_kills_its_workers_is_given_up(cluster):
    with pytest.raises(VSRError, match=f"^the task: given up after {MOST_ATTEMPTS} attempts, at last because its wor"):
        run(cluster, always_crash, [Job()])


#: Seconds after which a test has failed rather than hangs.
GUARD = 150


def meet(send, folder, others):
    """Return when so many nodes have such a task."""
    (Path(folder) / ray.get_runtime_context().get_node_id()).touch()
    wait_for(lambda: len(list(Path(folder).iterdir())) >= others)


def wait_for(condition):
    end = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_node_that_comes_later_gets_work(running, cluster, tmp_path):
    queue = TaskQueue(cluster)
    with ThreadPoolExecutor(1) as thread:  # since nodes are added in the main one
        running_tasks = thread.submit(run, cluster, meet, [Job(tmp_path, 2) for _ in range(3)], queue=queue)
        wait_for(lambda: any(tmp_path.iterdir()))
        added = running.add()
        running_tasks.result(GUARD)
    running.kill(added)
    assert (len(queue.done_by), sum(queue.done_by.values())) == (2, 3)


def test_a_node_dies_and_another_one_comes(running, cluster, tmp_path):
    notes = []
    with ThreadPoolExecutor(1) as thread:
        running_task = thread.submit(run, cluster, meet, [Job(tmp_path, 2)], notes.append)
        wait_for(lambda: any(tmp_path.iterdir()))
        running.kill(running.nodes.pop())
        running.nodes.append(running.add())
        running_task.result(GUARD)
    assert "the task: its node is gone; another worker does it" in notes


def test_a_late_node_with_other_versions_gets_no_work(running, cluster, monkeypatch):
    notes, queue = [], TaskQueue(cluster)
    (only,) = [n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU")]
    refuse = cluster.refuse
    refused = []

    def note_refusal(number):
        refused.append(number)
        refuse(number)
        # As if another one, which fits, had come.
        cluster._versions = ray.put(node.versions())
        cluster._refused.clear()

    monkeypatch.setattr(cluster, "refuse", note_refusal)
    cluster._versions = ray.put(node.versions() | {"torch": "1.0"})
    run(cluster, report, [Job()], notes.append, queue)
    assert refused == [only]
    assert notes == [f"a node that came later is not used: torch is {node.versions()['torch']} there and 1.0 here"]


def test_a_refused_node_counts_no_more(cluster):
    (only,) = [n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU")]
    cluster.refuse(only)
    assert sum(map(cluster._fits, ray.nodes())) == 0


def hold(send, folder):
    (Path(folder) / "begun").touch()
    while True:
        time.sleep(0.05)


def test_an_interruption_ends_what_is_at_work(cluster, tmp_path):
    job = Job(tmp_path)
    begun = tmp_path / "begun"

    class InterruptedQueue(TaskQueue):
        def _receive_some(self, run):
            if begun.exists():
                raise KeyboardInterrupt
            super()._receive_some(run)

    with pytest.raises(KeyboardInterrupt):
        run(cluster, hold, [job], queue=InterruptedQueue(cluster))
    run(cluster, report, [Job()])  # its core is free again


def test_two_runs_share_the_cluster_and_closing_ends_both(cluster, tmp_path):
    queue, errors = TaskQueue(cluster), []

    def begin():
        try:
            run(cluster, hold, [Job(tmp_path)], queue=queue)
        except VSRError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=begin) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: any(tmp_path.iterdir()))
    queue.close()
    for thread in threads:
        thread.join()
    assert errors == ["the cluster has been left before the work was done"] * 2


def test_no_cluster(monkeypatch, running):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(VSRError, match=rf"^--cluster {address}: there is no Ray cluster at {address} \(.*refused"):
        Cluster(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(VSRError, match=r"^--cluster auto: there is no Ray cluster at \S+ \("):
        Cluster("auto")
    monkeypatch.setenv("RAY_ADDRESS", running.address)
    with Cluster("auto") as found:
        assert found.address == running.address
    for odd in ("nonsense", "host:port"):
        with pytest.raises(VSRError, match=f"^--cluster {odd}: there is no Ray cluster at {odd}"):
            Cluster(odd)
    with pytest.raises(VSRError, match="name the head as HOST:PORT"):
        Cluster("ray://127.0.0.1:10001")


def test_a_gpu_is_asked_for_and_there_is_none(running):
    with pytest.raises(VSRError, match=r"^--task-gpus 1: no node of the cluster at \S+ has a GPU; start nodes"):
        Cluster(running.address, gpus=1)
    with pytest.raises(VSRError, match="has no node with 2 cores for a task"):
        Cluster(running.address, cpus=2)


def test_other_versions_are_refused_before_any_work(running, monkeypatch):
    here = node.versions() | {"torch": "2.0.1", "vsr_plugin": "0.1 (files 0)"}
    monkeypatch.setattr("vsr_plugin.cluster.connection.versions", lambda: here)
    there = "node 127.0.0.2: torch is [0-9.]+ there and 2.0.1 here, vsr_plugin is .* there and 0.1 .*; install the same"
    with pytest.raises(VSRError, match=there):
        Cluster(running.address)


def test_a_share_of_a_gpu_is_counted(cluster):
    cluster.gpus, cluster.cpus = 0.5, 1

    def fits(**resources):
        return cluster._fits(dict(NodeID="x", Resources=resources))

    assert [fits(CPU=8, GPU=2), fits(CPU=3, GPU=2), fits(CPU=8), fits(GPU=1)] == [4, 3, 0, 0]
    cluster.gpus = 2
    assert [fits(CPU=8, GPU=3), fits(CPU=8, GPU=4)] == [1, 2]
