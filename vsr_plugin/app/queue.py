"""The queue of jobs: on the disk, one job at a time, each the command that a person would type.

What is done of a job lies in the hidden folder that the command keeps beside its output
(:mod:`vsr_plugin.restoration.job`), so nothing here is lost with the server or the machine.
"""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path

from vsr_plugin.app.command import RESTORE, Command, Report
from vsr_plugin.errors import MediaError, VSRError
from vsr_plugin.files import locked, write_text
from vsr_plugin.restoration.job import JobFolder

_POLL_SECONDS = 0.1
#: A command that was asked to end is killed after so many seconds; what it has done is kept all the same.
_PATIENCE = 60.0


class State(str, Enum):
    """What becomes of a job."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Job:
    """A job of the queue.

    Attributes:
        number: counts jobs.
        input: the file or folder that is read, absolute.
        output: what is written, absolute.
        arguments: what else the command is given.
        state: what becomes of it.
        begun: its own command has begun in the folder for unfinished work beside the output, which it may delete.
        message: why it failed, in the words of the command.
        report: how far it is; of one that runs, and of one that has ended, the last that it said.
    """

    number: int
    input: str
    output: str
    arguments: tuple[str, ...]
    state: State = State.WAITING
    begun: bool = False
    message: str = ""
    report: Report = Report()

    def command(self) -> list[str]:
        """The arguments of ``restore`` that a person would give it."""
        return [self.input, self.output, *self.arguments]


class JobQueue:
    """Runs the jobs in order, one at a time, in ``with``; those of an earlier server are taken up.

    Args:
        folder: keeps the queue; made if it does not exist.
        command: what a job's arguments are given to.

    Raises:
        VSRError: another server is at work with this folder, or it cannot be written.
    """

    def __init__(self, folder: Path, command: Sequence[str] = RESTORE) -> None:
        self.folder, self._command = folder, command
        self._file = folder / "queue.json"
        self._jobs: dict[int, Job] = {}
        self._commands: dict[int, Command] = {}
        self._closed = False
        #: What the job that runs is to become when it has ended because of us.
        self._asked: State | None = None
        self._cancelled: set[int] = set()
        #: Guards all of these; notified when there may be something to do.
        self._changed = threading.Condition(threading.RLock())
        self._open = ExitStack()

    def __enter__(self) -> JobQueue:
        try:
            self.folder.mkdir(exist_ok=True)
            self._open.enter_context(locked(self.folder))
        except BlockingIOError as error:
            raise VSRError(
                f"{self.folder.parent}: another vsr-plugin app is at work there; use its page, or name another --root"
            ) from error
        except OSError as error:
            raise VSRError(
                f"{self.folder}: cannot be written ({error.strerror}); choose another first --root"
            ) from error
        try:
            self._read()
        except BaseException:
            self._open.close()
            raise
        self._thread = threading.Thread(target=self._run, name="vsr-queue", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the job that runs, so that the next server goes on with it, and let go of the folder."""
        with self._changed:
            self._closed = True
            if self._asked is None:
                self._asked = State.WAITING
            self._changed.notify_all()
        self._thread.join()
        self._open.close()

    # -- what is asked for -----------------------------------------------------------------------------------------

    def jobs(self) -> list[Job]:
        """All jobs in order, with how far they are."""
        with self._changed:
            return [replace(job, report=self._command_of(job).report()) for job in self._jobs.values()]

    def add(self, input_path: Path, output: Path, arguments: Sequence[str]) -> Job:
        """Add a job at the end.

        Raises:
            VSRError: the output exists, or is that of another job that has not ended; or the disk is full.
        """
        if output.exists() and not (output.is_dir() and not any(output.iterdir())):
            raise MediaError(f"{output}: exists already; choose another name")
        with self._changed:
            if any(job.output == str(output) and job.state is not State.DONE for job in self._jobs.values()):
                raise VSRError(f"{output}: is what another job of the queue writes; choose another name")
            job = Job(max(self._jobs, default=0) + 1, str(input_path), str(output), tuple(arguments))
            try:
                self._put(job)
            except OSError as error:
                del self._jobs[job.number]
                raise VSRError(f"{self._file}: cannot be written ({error.strerror}); free space") from error
        return job

    def pause(self, number: int) -> None:
        """Stop a job, so that it can go on from where it is; one that waits is passed over."""
        with self._changed:
            job = self._jobs.get(number)
            if job is not None and job.state is State.RUNNING:
                self._asked = State.PAUSED
                self._changed.notify_all()
            elif job is not None and job.state is State.WAITING:
                self._keep(replace(job, state=State.PAUSED))

    def go_on(self, number: int) -> None:
        """Let a job that was paused or has failed wait for its turn again."""
        with self._changed:
            job = self._jobs.get(number)
            if job is not None and job.state in (State.PAUSED, State.FAILED):
                self._keep(replace(job, state=State.WAITING, message=""))

    def cancel(self, number: int) -> None:
        """Take a job out of the queue; of one that is not done, delete what it has done as well."""
        with self._changed:
            job = self._jobs.get(number)
            if job is None:
                return
            if job.state is State.RUNNING:
                self._cancelled.add(number)
                self._asked = State.PAUSED
                self._changed.notify_all()
            else:
                self._remove(job)

    def newest(self, number: int) -> Path | None:
        """A small picture of the newest frame of a job, if there is one."""
        with self._changed:
            job = self._jobs.get(number)
        if job is None:
            return None
        path = JobFolder(Path(job.output)).newest
        return path if path.is_file() else None

    # -- the thread that runs them ---------------------------------------------------------------------------------

    def _run(self) -> None:
        while (job := self._next()) is not None:
            command = self._command_of(job)
            fault = None
            try:
                # Of an earlier server it may run still, or have come to its end alone. Once it has, its log is whole.
                running = command.is_running
                report = command.report()
                begun = job.begun or report.pid is not None
                self._keep(replace(job, state=State.RUNNING, begun=begun))
                if not running and report.output is None:
                    # One that had a turn before may have failed of what a run of others has left there: now it is to
                    # be gone on with. It is not its own for that, and cancelling must not delete it.
                    resume = ["--resume"] if begun or command.log.exists() else []
                    command.start([*self._command, *job.command(), "--progress", "json", *resume])
                self._wait(command)
            except OSError as error:
                fault = f"{self.folder}: {error.strerror or error}"
            self._end(job.number, command, fault)

    def _next(self) -> Job | None:
        """The job whose turn it is, once there is one; ``None`` at the end."""
        with self._changed:
            while not self._closed:
                order = sorted(self._jobs.values(), key=lambda job: (job.state is not State.RUNNING, job.number))
                for job in order:
                    if job.state in (State.RUNNING, State.WAITING):
                        return job
                self._changed.wait()
            return None

    def _wait(self, command: Command) -> None:
        """Wait until a command has ended, and see to it that it does if it is asked to."""
        asked_at = None
        while command.is_running:
            with self._changed:
                if self._asked is not None and asked_at is None and command.signal():
                    asked_at = time.monotonic()
                self._changed.wait(_POLL_SECONDS)
            if asked_at is not None and time.monotonic() - asked_at > _PATIENCE:
                command.signal(signal.SIGKILL)

    def _end(self, number: int, command: Command, fault: str | None) -> None:
        """Say what has become of a job."""
        report = command.report()
        with self._changed:
            asked, self._asked = self._asked, None
            job = self._jobs[number]
            job = replace(job, begun=job.begun or report.pid is not None)
            if report.output is not None:
                self._keep(replace(job, state=State.DONE))
            elif number in self._cancelled:
                self._remove(job)
            elif asked is not None:
                self._keep(replace(job, state=asked))
            else:
                self._keep(replace(job, state=State.FAILED, message=fault or report.error or command.exit_words()))
            self._cancelled.discard(number)

    # -- what is kept ----------------------------------------------------------------------------------------------

    def _command_of(self, job: Job) -> Command:
        return self._commands.setdefault(job.number, Command(self.folder / f"{job.number}.log"))

    def _put(self, job: Job) -> None:
        self._jobs[job.number] = job
        self._write()
        self._changed.notify_all()

    def _keep(self, job: Job) -> None:
        """Note what has become of a job; a full disk does not change that, and the log says it again."""
        with self._changed, suppress(OSError):
            self._put(job)
        with self._changed:
            self._changed.notify_all()

    def _remove(self, job: Job) -> None:
        if job.begun and job.state is not State.DONE:
            folder = JobFolder(Path(job.output)).path
            # Another command may be at work there, which is not ours.
            with suppress(OSError), locked(folder):
                shutil.rmtree(folder, ignore_errors=True)
        del self._jobs[job.number]
        self._commands.pop(job.number, None)
        (self.folder / f"{job.number}.log").unlink(missing_ok=True)
        with suppress(OSError):
            self._write()
        self._changed.notify_all()

    def _write(self) -> None:
        kept = [{name: value for name, value in asdict(job).items() if name != "report"} for job in self._jobs.values()]
        write_text(self._file, json.dumps(kept, indent=2))

    def _read(self) -> None:
        try:
            stored = json.loads(self._file.read_text())
        except FileNotFoundError:
            return
        except json.JSONDecodeError as error:
            raise VSRError(
                f"{self._file}: is damaged; delete it, the jobs themselves lie beside their outputs"
            ) from error
        for values in stored:
            known = {**values, "state": State(values["state"]), "arguments": tuple(values["arguments"])}
            self._jobs[values["number"]] = Job(**known)
