"""What runs on a node of a cluster: a task in a thread of its own, whose messages go to who handed it out."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import torch

import vsr_plugin
from vsr_plugin.errors import portable
from vsr_plugin.inference.planning import default_budget

#: Progress is reported so often at most.
_PROGRESS_SECONDS = 0.25
#: So many messages wait at most; what makes them waits then.
_MOST_WAITING = 8

Send = Callable[[str, Any], None]


@functools.cache
def versions() -> dict[str, str]:
    """What has to be the same on all machines for the same result: of the plugin, the content of its files, too."""
    package = Path(vsr_plugin.__file__).parent
    digest = hashlib.sha256()
    # Without what setup.py puts beside the modules of an installed package.
    names = (path.relative_to(package).as_posix() for path in package.rglob("*") if path.suffix in (".py", ".cu"))
    for name in sorted(name for name in names if not name.startswith(".mim/")):
        digest.update(name.encode() + (package / name).read_bytes())
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "torch": torch.__version__.partition("+")[0],  # the build for a GPU fits that for a CPU
        "PyAV": av.__version__,
        "vsr_plugin": f"{vsr_plugin.__version__} (files {digest.hexdigest()[:8]})",
    }


def difference(there: dict[str, str], here: dict[str, str]) -> str:
    """The versions that differ, in words; empty if none does."""
    return ", ".join(
        f"{name} is {there[name]} there and {here[name]} here" for name in here if there[name] != here[name]
    )


def device() -> torch.device:
    """The GPU that Ray has given this task, or the CPU."""
    import ray

    given = ray.get_runtime_context().get_accelerator_ids().get("GPU")
    if not given:
        return torch.device("cpu")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    index = visible.split(",").index(given[0]) if visible else int(given[0])
    return torch.device("cuda", index)


def free_memory_here(on_gpu: bool) -> int:
    """Bytes that all tasks of this node may take together, or on a GPU those of one."""
    return default_budget(torch.device("cuda" if on_gpu else "cpu"))


def serve(expected: dict[str, str], body: Callable[..., None], arguments: tuple) -> Iterator[tuple[str, Any]]:
    """Run a task, and yield its messages as they come.

    Args:
        expected: versions, see :func:`versions`.
        body: the task; takes a function ``send(kind, value)`` that may be called in any thread, and the arguments.
        arguments: of the task.

    Yields:
        What the task sends, numbers sent as ``progress`` added up; at last ``done`` with this node's
        number, or ``error`` with an exception that can be pickled, or ``refused`` with that number and the reason,
        before any work.
    """
    if line := difference(versions(), expected):
        yield "refused", (_node(), line)
        return
    messages: queue.Queue[tuple[str, Any]] = queue.Queue(_MOST_WAITING)

    def work() -> None:
        try:
            body(lambda kind, value: messages.put((kind, value)), *arguments)
            messages.put(("done", _node()))
        except BaseException as error:
            messages.put(("error", portable(error)))

    # The generator's own thread is Ray's, which interrupts it.
    threading.Thread(target=work, name="vsr-task", daemon=True).start()
    yield from _merged(messages)


def _node() -> str:
    import ray

    return ray.get_runtime_context().get_node_id()


def _merged(messages: queue.Queue[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    progress, reported = 0.0, time.monotonic()
    kind = ""
    while kind not in ("done", "error"):
        try:
            kind, value = messages.get(timeout=_PROGRESS_SECONDS)
        except queue.Empty:
            kind, value = "progress", 0.0
        if kind == "progress":
            progress += value
        if progress and (kind != "progress" or time.monotonic() - reported >= _PROGRESS_SECONDS):
            yield "progress", progress
            progress, reported = 0.0, time.monotonic()
        if kind != "progress":
            yield kind, value
