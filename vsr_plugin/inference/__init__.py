"""Inference: frames in, frames out, any length in bounded memory (``restore_frames``)."""

from importlib import import_module

from vsr_plugin.inference.restorer import restore_frames

__all__ = ["restore_frames"]

#: What stood here before files had a room of their own above this one; scripts of that time go on.
_MOVED = {"RestoreOptions": "vsr_plugin.restoration", "restore_video": "vsr_plugin.restoration"}


def __getattr__(name: str) -> object:
    if name in _MOVED:
        return getattr(import_module(_MOVED[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
