"""What computes: which device, how many images at once, and how many threads of a CPU, as other programs leave free."""

import os
import time
from pathlib import Path

import torch
from torch import Tensor

from vsr_plugin.errors import VSRError


def pick_device(name: str) -> torch.device:
    """The device called ``name``; for ``'auto'`` a GPU if there is one that works.

    Raises:
        VSRError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise VSRError(f"device {name!r} cannot be used here ({reason}); use cpu, cuda, cuda:N or auto") from error
    return device


def batch_pixels(images: Tensor) -> int:
    """Pixels that fill the device of ``images``: more in one batch takes memory and gains no speed."""
    return 2**21 if images.is_cuda else 2**17


_STAT = Path("/proc/stat")
#: Ticks of a core in a second, in which Linux counts.
_TICKS = 100.0
#: From this share of free cores on all are taken: what takes less than the rest is the usual noise of a machine.
_NEARLY_ALL = 0.8
#: Variables by which a person says how many.
_CHOSEN_BY = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


class FreeCores:
    """Watches the cores that this process may run on, from when it is made; best while the process begins.

    PyTorch's threads wait for each other without letting go of their cores. On two cores beside other tests and a
    training, ``tools/restore_video.py`` took 144 s for 40 frames of 160x90 with two threads, and 77 s with the one that
    is taken here (2026-11-28).
    """

    def __init__(self) -> None:
        self._begin = self._read()

    @staticmethod
    def _read() -> tuple[float, float, float] | None:
        """Seconds: the time, of idle cores, and of this process; ``None`` where Linux does not tell."""
        try:
            cores = os.sched_getaffinity(0)
            lines = (line.split() for line in _STAT.read_text().splitlines())
            # user, nice, system, idle, iowait, ...
            idle = sum(int(words[4]) + int(words[5]) for words in lines if words[0] in {f"cpu{i}" for i in cores})
        except (AttributeError, OSError, ValueError, IndexError):
            return None
        return time.monotonic(), idle / _TICKS, time.process_time()

    def count(self) -> float | None:
        """Cores on which nobody else was at work in the mean; ``None`` where that is not known."""
        now = self._read()
        if self._begin is None or now is None or now[0] - self._begin[0] < 0.2:
            return None
        seconds, idle, own = (after - before for after, before in zip(now, self._begin, strict=True))
        return (idle + own) / seconds


def take_free_threads(free: float | None) -> str | None:
    """Let PyTorch compute with as many threads as there are free cores, unless somebody has said how many.

    Args:
        free: cores, see :meth:`FreeCores.count`.

    Returns:
        A line for a person, where that are fewer than usual.
    """
    usual = torch.get_num_threads()
    if free is None or any(name in os.environ for name in _CHOSEN_BY) or free >= _NEARLY_ALL * usual:
        return None
    threads = max(1, int(free + 0.5))
    if threads >= usual:
        return None
    torch.set_num_threads(threads)
    return (
        f"other programs keep this machine busy: {threads} of {usual} threads are used, which is faster than to "
        f"compete (OMP_NUM_THREADS={usual} takes all)"
    )
