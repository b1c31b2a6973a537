"""The tool in processes that may be killed, clips for it, and what is in its results."""

import faulthandler
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import av
import cv2
import numpy as np

TOOL = Path(__file__).parents[2] / "tools" / "restore_video.py"


def run_as_command(arguments: list[str], log: str, environment: dict[str, str], threads: int = 0) -> None:
    """Run the tool in this process with its output in ``log``; the target of a process that may be killed."""
    os.environ.update(environment)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    faulthandler.enable(file)
    import torch

    from vsr_plugin.cli.command import run

    if threads:
        torch.set_num_threads(threads)
    sys.argv = ["restore_video.py", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(run("restore"))


class Command:
    """A running tool.

    Attributes:
        log: its output.
    """

    def __init__(
        self, context, folder: Path, arguments: list, environment: dict[str, str] | None = None, threads: int = 0
    ) -> None:
        self._log = folder / f"log-{time.monotonic_ns()}"
        self._log.touch()
        arguments = [str(argument) for argument in arguments]
        self._process = context.Process(
            target=run_as_command, args=(arguments, str(self._log), environment or {}, threads)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def ended(self) -> bool:
        return self._process.exitcode is not None

    def wait_for_work(self) -> None:
        """Wait until the restoration has begun, or the process has ended."""
        for _ in range(2000):
            if self.ended or "->" in self.log:
                return
            time.sleep(0.03)
        raise TimeoutError(self.log)

    def stop(self, number: int) -> None:
        # It may have ended by itself meanwhile.
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def wait(self, timeout: float = 240) -> int:
        self._process.join(timeout)
        if not self.ended:
            self.stop(signal.SIGABRT)  # the log gets what its threads are at
            self._process.join()
            raise AssertionError(f"still running after {timeout} s\n{self.log}")
        return self._process.exitcode


def shots(*lengths: int, first_seed: int = 0) -> list[np.ndarray]:
    """Pictures of 16 x 24 that pan, and change altogether after so many frames."""
    pictures = []
    for seed, length in enumerate(lengths, start=first_seed):
        blocks = np.random.default_rng(seed).integers(0, 256, (4, 24, 3), np.uint8)
        wide = cv2.resize(blocks, (24 + max(lengths), 16), interpolation=cv2.INTER_CUBIC)
        pictures += [np.ascontiguousarray(wide[:, i : i + 24]) for i in range(length)]
    return pictures


def content(path: Path) -> tuple:
    """Everything in a video: packets of all streams with their times, and tags."""
    with av.open(str(path)) as container:
        packets = [(p.stream_index, p.pts, p.dts, p.duration, bytes(p)) for p in container.demux() if p.size]
        return packets, dict(container.metadata)
