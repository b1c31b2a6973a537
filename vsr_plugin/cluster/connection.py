"""A Ray cluster as this package uses it: who is there, whether it fits, and what a task takes of it.

Ray is imported here and nowhere above, so that everything else works without it.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vsr_plugin.cluster.node import difference, free_memory_here, serve, versions
from vsr_plugin.errors import VSRError

try:
    import ray
except ImportError as error:
    raise VSRError(
        "--cluster needs Ray, which is not installed here; pip install ray, the same version here and on every node"
    ) from error

from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_CONNECT_SECONDS, _PROBE_SECONDS = 5, 180
#: So often the nodes are counted.
_COUNT_SECONDS = 1.0
#: Cores of a task that computes on a CPU, where no node has fewer: more threads than that are used badly.
_USUAL_CORES = 4
# A worker process that Ray gives another GPU than before must be able to see it.
_SEES_ALL_GPUS = {"env_vars": {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}}


@dataclass(frozen=True)
class _Probe:
    versions: dict[str, str]
    memory: int


def _probe(on_gpu: bool) -> _Probe:
    return _Probe(versions(), free_memory_here(on_gpu))


class Cluster:
    """A cluster that is running, in ``with``; connecting finds out whether its nodes can do what they will be asked.

    Args:
        address: ``host:port`` of its head, or ``'auto'`` for the one that this machine belongs to.
        gpus: of each task, also a share such as 0.5; ``None`` for one where the cluster has some, else none.
        cpus: cores of each task; ``None`` for one beside a GPU, else for four, or as many as the smallest node has.

    Attributes:
        gpus: of each task.
        cpus: of each task.
        memory: bytes that each task may take where nobody says how much.

    Raises:
        VSRError: there is no cluster, no node that has what a task takes, or one whose versions are others.
    """

    def __init__(self, address: str, *, gpus: float | None = None, cpus: int | None = None) -> None:
        self.address = _find(address)
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            _connect(self.address)
        self._counting = threading.Lock()
        self._counted, self._slots = 0.0, 0
        self._refused: list[str] = []
        try:
            self._choose(gpus, cpus)
            self._check_nodes()
        except BaseException:
            self.close()
            raise
        # A worker keeps its process, and with it networks that are ready to compute.
        self._task = ray.remote(num_returns="streaming", max_retries=0, max_calls=0)(serve)
        self._takes = dict(num_cpus=self.cpus, num_gpus=self.gpus)
        if self.gpus:
            self._takes["runtime_env"] = _SEES_ALL_GPUS
        self._versions = ray.put(versions())

    def __str__(self) -> str:
        each = f"{self.gpus:g} GPU{'s' * (self.gpus > 1)}" if self.gpus else f"{self.cpus} core{'s' * (self.cpus > 1)}"
        return f"the cluster at {self.address} ({self.slots()} at a time, {each} each)"

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster, which ends the tasks that are left."""
        if self._is_ours:
            ray.shutdown()

    # -- what there is ---------------------------------------------------------------------------------------------

    def _choose(self, gpus: float | None, cpus: int | None) -> None:
        nodes = [node["Resources"] for node in _alive()]
        has_gpu = any(resources.get("GPU") for resources in nodes)
        self.gpus = (1 if has_gpu else 0) if gpus is None else gpus
        if self.gpus and not has_gpu:
            raise VSRError(
                f"--task-gpus {self.gpus:g}: no node of the cluster at {self.address} has a GPU; start nodes that have "
                "one (ray start --num-gpus N where Ray does not find it), or take --task-gpus 0"
            )
        cores = [int(resources["CPU"]) for resources in nodes if resources.get("CPU", 0) >= 1]
        self.cpus = cpus or (1 if self.gpus else min([_USUAL_CORES, *cores]))
        if not self.slots():
            what = f"{self.cpus} cores" + (f" and {self.gpus:g} GPUs" if self.gpus else "")
            raise VSRError(
                f"the cluster at {self.address} has no node with {what} for a task; take fewer with --task-cpus or "
                "--task-gpus, or add nodes"
            )

    def _fits(self, node: dict) -> int:
        """How many tasks a node takes at a time."""
        if node["NodeID"] in self._refused:
            return 0
        resources = node["Resources"]
        count = int(resources.get("CPU", 0) // self.cpus)
        if self.gpus:
            of_gpus = resources.get("GPU", 0)
            count = min(count, int(of_gpus // self.gpus if self.gpus >= 1 else of_gpus * int(1 / self.gpus)))
        return count

    def slots(self) -> int:
        """How many tasks run at a time now; it changes as nodes come and go."""
        with self._counting:
            if not self._slots or time.monotonic() - self._counted > _COUNT_SECONDS:
                self._slots, self._counted = sum(map(self._fits, _alive())), time.monotonic()
            return self._slots

    def _check_nodes(self) -> None:
        on_gpu = bool(self.gpus)
        environment = _SEES_ALL_GPUS if on_gpu else None
        probe = ray.remote(num_cpus=0, max_retries=1, max_calls=1, runtime_env=environment)(_probe)
        asked = {}
        for node in _alive():
            if self._fits(node):
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                asked[probe.options(scheduling_strategy=there).remote(on_gpu)] = node
        shares = []
        for answer, node in asked.items():
            name = node["NodeManagerAddress"]
            try:
                found = ray.get(answer, timeout=_PROBE_SECONDS)
            except ray.exceptions.GetTimeoutError as error:
                raise VSRError(f"node {name}: does not answer; look at it with ray status, or stop it") from error
            except (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError):
                continue  # it was gone before Ray had noticed
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None) or error
                raise VSRError(
                    f"node {name}: vsr_plugin cannot be run there ({_first_line(cause)}); install the same versions of "
                    "everything as here"
                ) from error
            if line := difference(found.versions, versions()):
                raise VSRError(f"node {name}: {line}; install the same there, or stop the node")
            shares.append(int(found.memory * self.gpus) if self.gpus else found.memory // self._fits(node))
        if not shares:
            raise VSRError(f"no node of the cluster at {self.address} answers; look at it with ray status")
        self.memory = min(shares)

    def put(self, value: object) -> object:
        """Make an object of the cluster, which each node fetches once; returns a reference to it."""
        return ray.put(value)

    # -- tasks -----------------------------------------------------------------------------------------------------

    def start(self, body: Callable[..., None], arguments: tuple) -> Any:
        """Begin a task; see :func:`vsr_plugin.cluster.node.serve` for what comes out of it, as a generator of Ray's."""
        where = {}
        if self._refused:
            where["label_selector"] = {"ray.io/node-id": f"!in({','.join(self._refused)})"}
        return self._task.options(**self._takes, **where).remote(self._versions, body, arguments)

    def refuse(self, node: str) -> None:
        """Give no more tasks to a node, by its number."""
        self._refused.append(node)


def _alive() -> list[dict]:
    return [node for node in ray.nodes() if node["Alive"]]


def _find(address: str) -> str:
    """``host:port`` of a head at which somebody listens."""
    if "://" in address:
        raise VSRError(
            f"--cluster {address}: name the head as HOST:PORT; this machine must belong to the cluster "
            "(ray start --address HOST:PORT --num-cpus 0 lets it take no tasks)"
        )
    found = address
    if address == "auto":
        from ray._private.services import canonicalize_bootstrap_address

        found = canonicalize_bootstrap_address("auto")
        if found is None:
            raise VSRError(
                "--cluster auto: no Ray cluster is running on this machine; start one with ray start --head, join one "
                "with ray start --address HOST:PORT, or name its head"
            )
    host, _, port = found.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise VSRError(
            f"--cluster {address}: there is no Ray cluster at {found} ({_first_line(error)}); start one there with "
            "ray start --head, and give HOST:PORT as that prints it"
        ) from error
    return found


def _connect(address: str) -> None:
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False, logging_level="fatal")
    except (ConnectionError, RuntimeError, ValueError) as error:
        # Ray compares its own version and Python's here.
        raise VSRError(f"--cluster {address}: cannot be joined: {_first_line(error)}") from error
    finally:
        with suppress(ValueError):  # in another thread than the main one, where Ray sets none either
            signal.signal(signal.SIGTERM, terminate)  # Ray's own would end this process without a word


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
