"""Inference: frames in, frames out, any length in bounded memory (``restore_frames``)."""

from vsr_plugin.inference.restorer import restore_frames

__all__ = ["restore_frames"]
