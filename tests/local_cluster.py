"""A Ray cluster on this machine: a head that takes no tasks, and nodes of one core that come and go."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

#: On the loopback network; Ray takes 127.0.0.1 for the name of another address of the machine.
_PLACE = dict(node_ip_address="127.0.0.2", object_store_memory=80 * 2**20)


@contextmanager
def local_cluster(nodes: int = 2) -> Iterator[SimpleNamespace]:
    """Yield ``address``, ``add()`` that returns a node, and ``kill(node)``."""
    # Sets what Ray reads when it is imported.
    from vsr_plugin.cluster.connection import Cluster  # noqa: F401
    from ray.cluster_utils import Cluster as RayCluster  # isort: skip

    folder = tempfile.mkdtemp(prefix="ray_", dir="/tmp")  # sockets have short names only
    cluster = RayCluster()
    try:
        cluster.add_node(num_cpus=0, include_dashboard=False, temp_dir=folder, **_PLACE)

        def add() -> object:
            return cluster.add_node(num_cpus=1, **_PLACE)

        yield SimpleNamespace(
            address=cluster.address,
            nodes=[add() for _ in range(nodes)],
            add=add,
            kill=lambda node: cluster.remove_node(node, allow_graceful=False),
        )
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.pop("RAY_ADDRESS", None)
