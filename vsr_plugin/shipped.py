"""Configs and tools: beside the package in a checkout, inside of it, in ``.mim``, where it is installed."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def checkout() -> Path | None:
    """The folder that the package was checked out into; ``None`` where it is installed."""
    return _PACKAGE.parent if (_PACKAGE.parent / "setup.py").is_file() else None


def shipped(folder: str) -> Path:
    """The folder ``'configs'`` or ``'tools'`` of this package, wherever it lies."""
    return (checkout() or _PACKAGE / ".mim") / folder


def find_config(name: str | os.PathLike) -> Path:
    """The config that is meant: a path, which wins, or the name of one of this package's.

    Args:
        name: such as ``'my/experiment.py'``, or ``'iconvsr_reds'``, ``'studies/coupled.py'``.

    Returns:
        Its path; ``name`` itself if there is none, so that what reads it can say so.
    """
    path = Path(name)
    if path.is_file() or path.is_absolute():
        return path
    ours = shipped("configs") / Path(*path.parts[path.parts[:1] == ("configs",) :])
    for file in (ours, ours.with_name(f"{ours.name}.py")):
        if file.is_file():
            return file
    return path
