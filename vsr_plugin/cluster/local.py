"""A Ray cluster on this machine, for tests and measurements: a head that takes no tasks, and nodes that come and go."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from ray.cluster_utils import Cluster

#: On the loopback network; Ray takes 127.0.0.1 for the name of another address of the machine.
_PLACE = dict(node_ip_address="127.0.0.2", object_store_memory=80 * 2**20)


@contextmanager
def local_cluster(nodes: int = 1, cpus: int = 1) -> Iterator[SimpleNamespace]:
    """Yield ``address``, ``nodes`` with so many cores each, ``add()`` that returns another, and ``kill(node)``."""
    folder = tempfile.mkdtemp(prefix="ray_", dir="/tmp")  # sockets have short names only
    cluster = Cluster()
    try:
        cluster.add_node(num_cpus=0, include_dashboard=False, temp_dir=folder, **_PLACE)

        def add() -> object:
            return cluster.add_node(num_cpus=cpus, **_PLACE)

        yield SimpleNamespace(
            address=cluster.address,
            nodes=[add() for _ in range(nodes)],
            add=add,
            kill=lambda node: cluster.remove_node(node, allow_graceful=False),
        )
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
