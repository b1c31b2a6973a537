"""The command as a process of its own, which outlives who started it and is found again by its log.

The process holds a lock on the file that its output goes to, so whoever reads that file knows whether it still runs,
also after the machine was off. Linux and macOS; Windows has no such locks.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vsr_plugin.progress import read_record

#: What restores; the arguments follow.
RESTORE = (sys.executable, "-m", "vsr_plugin", "restore")
#: So much of the end of a log is read.
_TAIL = 2**16


@dataclass(frozen=True)
class Report:
    """What a command has said.

    Attributes:
        pid: number of its process, once it is known.
        frames: that are done, in halves.
        of: how many frames there are, if that is known.
        rate: frames a second.
        seconds_left: until the end.
        output: what was written, when all is done.
        error: in its own words, what it ended with.
    """

    pid: int | None = None
    frames: float = 0.0
    of: int | None = None
    rate: float | None = None
    seconds_left: float | None = None
    output: str | None = None
    error: str | None = None


class Command:
    """A command with a log, running or not.

    Args:
        log: the file; it is made by :meth:`start`.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self._process: subprocess.Popen | None = None

    def start(self, arguments: Sequence[str]) -> None:
        """Run it with an empty log.

        Raises:
            OSError: there is no such program, or the disk is full.
        """
        with open(self.log, "wb") as log:
            # The lock belongs to the open file, which is the process's from here on, and its workers'.
            fcntl.flock(log, fcntl.LOCK_EX)
            # A session of its own: Ctrl-C in the terminal of who started it is not for it.
            self._process = subprocess.Popen(
                [*arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def is_running(self) -> bool:
        """Whether its process or one of its workers is there, whoever has started it."""
        if self._process is not None:
            self._process.poll()  # which buries it
        try:
            with open(self.log, "r+b") as log:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            pass
        return False

    def signal(self, number: int = signal.SIGTERM) -> bool:
        """Ask it to end, which it does as with Ctrl-C; returns whether its process was known."""
        pid = self._process.pid if self._process is not None else self.report().pid
        if pid is None or not self.is_running:
            return False
        with suppress(ProcessLookupError):
            # Its workers hear it from itself, but are not asked if it is to be killed.
            (os.killpg if number == signal.SIGKILL else os.kill)(pid, number)
        return True

    def report(self) -> Report:
        """What it has said up to now."""
        try:
            with open(self.log, "rb") as log:
                log.seek(-min(_TAIL, log.seek(0, os.SEEK_END)), os.SEEK_END)
                lines = log.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return Report()
        said: dict[str, object] = {}
        error = None
        for line in lines:
            if (record := read_record(line)) is not None:
                said |= record
            elif line.startswith("error: "):
                error = line.removeprefix("error: ")
        if error is None and "output" not in said and lines and not lines[-1].startswith(("{", "note: ")):
            error = lines[-1].strip() or None
        known = {name: said.get(name) for name in ("pid", "of", "rate", "seconds_left", "output")}
        return Report(**known, frames=said.get("frames", 0.0), error=error)

    def exit_words(self) -> str:
        """How its process has ended, where it has said nothing itself."""
        status = None if self._process is None else self._process.poll()
        if status is not None and status < 0:
            return f"the process was killed by signal {-status} ({signal.Signals(-status).name})"
        return "the process has ended without a word" if status is None else f"the process has ended with {status}"
