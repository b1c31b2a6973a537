"""Restoration: files in, files out (``restore_video``), as jobs that survive their process."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vsr_plugin.restoration.options import RestoreOptions
    from vsr_plugin.restoration.restore import RestoreResult, restore_video

__all__ = ["RestoreOptions", "RestoreResult", "restore_video"]

_PLACES = {"RestoreOptions": "options", "RestoreResult": "restore", "restore_video": "restore"}


def __getattr__(name: str) -> object:
    # When they are asked for: the options are read where PyTorch is not needed, for the help of a command.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
