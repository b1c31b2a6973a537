"""Running a task on as many threads as PyTorch uses."""

import ctypes
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

_TASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@functools.cache
def _openmp():
    """``GOMP_parallel`` of the OpenMP that PyTorch runs on, so that its own threads are used; ``None`` elsewhere.

    GNU's library has it, and so has LLVM's on Linux; both are stable interfaces, which compiled programs call.
    """
    bundled = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    for library in (*map(str, bundled), None):
        try:
            parallel = ctypes.CDLL(library).GOMP_parallel
        except (OSError, AttributeError, TypeError):
            continue
        parallel.restype, parallel.argtypes = None, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        return parallel
    return None


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Threads are made as they are needed."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="convolution")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # its threads stay with the parent


def run(task: int, call: ctypes.Structure, threads: int) -> None:
    """Run the function at address ``task`` on ``threads`` threads at once, each with the address of ``call``.

    Where there are fewer threads it is called as often, since each call may have a share of its own of the work.
    """
    address, function = ctypes.addressof(call), _TASK(task)
    parallel = _openmp()
    if parallel is not None:
        parallel(task, address, threads, 0)
        # OpenMP gives fewer than asked for beyond OMP_THREAD_LIMIT, and inside of another parallel region.
        while call.next_task < threads:
            function(address)
        return
    others = [_pool().submit(function, address) for _ in range(threads - 1)]
    function(address)
    for other in others:
        other.result()
