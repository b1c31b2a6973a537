"""Several processes at one task: who is who, waiting for each other, and ending together.

The processes share a file system; only short words go between them, through the key-value store of
``torch.distributed``, which waits as long as it takes (a process group gives up after half an hour, and one process
may have hours more to do than another) and needs no GPU.
"""

import os
import time
from collections.abc import Callable
from datetime import timedelta

import torch
from torch.distributed.rendezvous import rendezvous

from vsr_plugin.errors import VSRError

_POLL_SECONDS = 0.2
_CONNECT = timedelta(minutes=5)


class EndedElsewhereError(VSRError):
    """Another process has failed and has said why."""


class Sharing:
    """This process among those of one ``torchrun``; alone without it.

    Use it in ``with``: an exception that leaves it makes the others end too, at their next :meth:`wait`.

    Attributes:
        rank: Number of this process.
        world: How many there are.
        local_rank: Number among those of this machine.
        local_world: How many there are on this machine.
    """

    def __init__(self, rank: int = 0, world: int = 1, *, local_rank: int = 0, local_world: int = 1, store=None) -> None:
        self.rank, self.world, self.local_rank, self.local_world = rank, world, local_rank, local_world
        self._store = store
        self._waits = 0

    @classmethod
    def from_environment(cls) -> "Sharing":
        """Join the processes that ``torchrun`` started, as its environment variables say.

        Raises:
            VSRError: the variables are not all set, or the processes cannot be reached.
        """
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if world == 1:
            return cls()
        if "RANK" not in os.environ:
            raise VSRError(
                f"WORLD_SIZE is {world}, but RANK is not set; start the processes with torchrun, or unset it"
            )
        rank, local_rank = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
        try:
            store, _, _ = next(rendezvous("env://", rank, world, timeout=_CONNECT))
        except (RuntimeError, ValueError, OSError) as error:
            raise VSRError(f"the other processes cannot be reached ({error}); start them with torchrun") from error
        local_world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        if os.environ.get("OMP_NUM_THREADS") == "1":
            # What torchrun sets so that its processes do not crowd each other; they may share all cores.
            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // local_world))
        return cls(rank, world, local_rank=local_rank, local_world=local_world, store=store)

    def apart(self) -> "Sharing":
        """This process at a task of its own, while the others are at theirs on the same machine."""
        return Sharing(local_rank=self.local_rank, local_world=self.local_world)

    def sharers(self, device: torch.device) -> int:
        """How many processes work with the memory of ``device``."""
        return -(-self.local_world // torch.cuda.device_count()) if device.type == "cuda" else self.local_world

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that prints, prepares and completes."""
        return self.rank == 0

    def mine(self, number: int) -> bool:
        """Whether task ``number`` falls to this process."""
        return number % self.world == self.rank

    def wait(self) -> None:
        """Wait until every process has come as far.

        Raises:
            EndedElsewhereError: one of them has failed.
        """
        if self._store is None:
            return
        self._waits += 1
        key = f"vsr_plugin/wait/{self._waits}"
        self._count(key, 1)
        self._wait_for(key)

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Wait for something that another process does; alone there is none to wait for.

        Returns:
            Whether it has been done.

        Raises:
            EndedElsewhereError: one of them has failed.
        """
        while not condition():
            if self._store is None:
                return False
            if self._count("vsr_plugin/failed", 0):
                raise EndedElsewhereError("another process has failed; nothing was written under the final name")
            time.sleep(_POLL_SECONDS)
        return True

    def _count(self, key: str, amount: int) -> int:
        try:
            return self._store.add(key, amount)
        except RuntimeError as error:
            raise EndedElsewhereError("the process that the others meet at has ended") from error

    def _wait_for(self, key: str) -> None:
        while self._count(key, 0) < self.world:
            if self._count("vsr_plugin/failed", 0):
                raise EndedElsewhereError("another process has failed; nothing was written under the final name")
            time.sleep(_POLL_SECONDS)

    def __enter__(self) -> "Sharing":
        return self

    def __exit__(self, exc_type: type[BaseException] | None, error: BaseException | None, *rest: object) -> None:
        if self._store is None:
            return
        if error is None:
            self._count("vsr_plugin/end", 1)
            if self.is_first:
                # The store may be in this process, and the others have to see that they may go.
                self._wait_for("vsr_plugin/end")
            return
        if isinstance(error, EndedElsewhereError) or self._others_failed():
            # One line is enough for all.
            raise SystemExit(1) from None

    def _others_failed(self) -> bool:
        try:
            return self._count("vsr_plugin/failed", 1) > 1
        except EndedElsewhereError:
            return True
