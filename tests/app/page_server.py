"""A server of the page in a process of its own, and how to wait for it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import vsr_plugin

ROOT = Path(vsr_plugin.__file__).parents[1]
#: What is sure to come does so within this time, also on a machine that does much else.
PATIENCE = 180.0


def until(is_so: Callable[[], object], words: Callable[[], str] = str) -> None:
    """Wait for what is sure to come; ``words`` say what there is if it does not."""
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end, words()
        time.sleep(0.02)


class Server:
    """``vsr-plugin app`` in a process of its own.

    Attributes:
        address: of the page.
    """

    def __init__(self, root: Path, *arguments: str, log: Path) -> None:
        self._log = log
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "vsr_plugin", "app", "--root", str(root), "--device", "cpu", *arguments]
        with open(log, "wb") as file:
            self.process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, cwd=root)
        until(lambda: "the page is at" in self.log or self.process.poll() is not None)
        assert self.process.poll() is None, self.log
        self.address = re.search(r"http://\S+", self.log)[0]

    @property
    def log(self) -> str:
        return self._log.read_text()

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it; returns its status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)
