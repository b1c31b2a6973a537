"""What our kernels were compiled to, kept on disk from process to process: compiling takes two seconds.

The files lie where PyTorch keeps the kernels that it compiles itself (``~/.cache/torch/kernels``, or what
``PYTORCH_KERNEL_CACHE_PATH`` names) and may be deleted at any time. Where they cannot be read or written, everything is
compiled in every process.
"""

import contextlib
import functools
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

_DIGEST_BYTES = hashlib.sha256().digest_size


def folder() -> Path:
    """Where it is kept."""
    kernels = os.environ.get("PYTORCH_KERNEL_CACHE_PATH") or Path(torch.hub.get_dir()).parent / "kernels"
    return Path(kernels) / "vsr_plugin"


@functools.cache
def digest(kernels: Path) -> str:
    """Of all source files in a folder of kernels and below it.

    Any of them may shape the code, and a list of those that do would be out of date one day.
    """
    files = sorted(path for path in kernels.rglob("*") if path.suffix in (".py", ".cu"))
    described = (f"{path.relative_to(kernels)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files)
    return hashlib.sha256("\n".join(described).encode()).hexdigest()


def cached(description: Iterable[str], compile_it: Callable[[], bytes]) -> bytes:
    """What an earlier process compiled, or else what ``compile_it`` gives, which is kept for later ones.

    Args:
        description: everything that the code depends on: its sources, see :func:`digest`, what it is compiled for, and
            by what version.
        compile_it: compiles; what it raises is raised.
    """
    name = hashlib.sha256("\0".join(description).encode()).hexdigest()
    path = folder() / f"{name}.bin"
    code = _read(path)
    if code is None:
        code = compile_it()
        with contextlib.suppress(OSError):
            _write(path, code)
    return code


def _read(path: Path) -> bytes | None:
    """What is kept there, if it is whole and nobody else can have written it."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            data = file.read()
    except OSError:
        return None
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        return None
    digest, code = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None


def _write(path: Path, code: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Private to the user from the start, and under its name when it is whole, since processes may write at once.
    descriptor, partial = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with open(descriptor, "wb") as file:
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
