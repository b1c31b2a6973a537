"""A Ray cluster on this machine, for tests and measurements: a head that takes no tasks, and nodes that come and go."""

from __future__ import annotations

import os
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
    with _folder_of_its_own():
        cluster = Cluster()
        try:
            cluster.add_node(num_cpus=0, include_dashboard=False, **_PLACE)

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


@contextmanager
def _folder_of_its_own() -> Iterator[None]:
    """Let Ray keep all that it writes in a folder that goes away.

    Naming it to a node is not enough: in the usual folder, which has to be there then, Ray still notes which cluster
    this machine belongs to, over the note of another one, and takes the note away at the end.
    """
    usual = os.environ.get("RAY_TMPDIR")
    # In /tmp, since sockets have short names only.
    with tempfile.TemporaryDirectory(prefix="ray_", dir="/tmp", ignore_cleanup_errors=True) as folder:
        os.environ["RAY_TMPDIR"] = folder
        try:
            yield
        finally:
            if usual is None:
                del os.environ["RAY_TMPDIR"]
            else:
                os.environ["RAY_TMPDIR"] = usual
