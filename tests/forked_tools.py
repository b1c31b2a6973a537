"""Tools in processes of their own that start at once: forks of one that has imported what tools import.

Each is what a shell would have started: its own session, arguments, folder, environment and streams. Starting a Python
that imports all that training needs takes as long as the tests' trainings themselves.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from unformatted_configs import leave_configs_unformatted

TOOLS = Path(__file__).parents[1] / "tools"
#: What the tools import before their work or in it. None of these starts threads, which a fork would lose.
IMPORTED = (
    "vsr_plugin.training.launching",
    "vsr_plugin.inference",
    "mmagic.datasets",
    "mmagic.models",
    "matplotlib.backends.backend_agg",
    "matplotlib.pyplot",
    "torch._dynamo",
    "torch.utils.tensorboard",
)


class ForkedTool:
    """A tool at work.

    Args:
        tool: name of a tool, or the path of another script.
        arguments: those of its command line.
        path: a folder with modules for it.
        environment: variables that it gets besides those of this process.
    """

    def __init__(
        self, tool: str | Path, *arguments: object, path: Path | None = None, environment: dict[str, str] | None = None
    ) -> None:
        script = tool if isinstance(tool, Path) else TOOLS / f"{tool}.py"
        self._folder = tempfile.TemporaryDirectory(prefix="forked_tool_")
        self._streams = [str(Path(self._folder.name, name)) for name in ("out", "err")]
        self._status: int | None = None
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **(environment or {})}
        self.pid = _ask(
            command=[str(script), *map(str, arguments)], path=str(path or ""), folder=os.getcwd(),
            environment=variables, streams=self._streams,
        )  # fmt: skip

    def poll(self) -> int | None:
        """Its exit status, negative after a signal, or None while it runs."""
        if self._status is None:
            self._status = _ask(pid=self.pid)
        return self._status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float = 240) -> tuple[int, str, str]:
        """Wait until it ends; returns status, standard output and standard error."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            assert time.monotonic() < deadline, self._read()
            time.sleep(0.02)
        return self._status, *self._read()

    def _read(self) -> list[str]:
        return [Path(stream).read_text() for stream in self._streams]


def in_two_processes(tool: str | Path, *arguments: object) -> list[ForkedTool]:
    """Start a tool twice, as torchrun starts two processes of one training."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    return [ForkedTool(tool, *arguments, environment={**meeting, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@functools.cache
def _server() -> subprocess.Popen:
    """The process that forks; it ends when its input does, with this process."""
    where = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": where}
    command = [sys.executable, __file__]
    return subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _ask(**request: object) -> int | None:
    server = _server()
    print(json.dumps(request), file=server.stdin, flush=True)
    return json.loads(server.stdout.readline())


def serve() -> None:
    """For every line that comes, fork a tool and tell its process, or tell the status of one."""
    answers = os.fdopen(os.dup(1), "w")
    # Imports may print.
    os.dup2(2, 1)
    for name in IMPORTED:
        with suppress(ImportError):
            importlib.import_module(name)
    leave_configs_unformatted()
    for line in sys.stdin:
        request = json.loads(line)
        if "pid" in request:
            ended, status = os.waitpid(request["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        else:
            answer = os.fork()
            if answer == 0:
                answers.close()
                become(**request)
        print(json.dumps(answer), file=answers, flush=True)


def become(command: list[str], path: str, folder: str, environment: dict[str, str], streams: list[str]) -> None:
    """Be the process of a command."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, stream in enumerate(streams, start=1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, [str(Path(command[0]).parent), path])
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")
    sys.exit()


if __name__ == "__main__":
    serve()
