"""Inference: frames in, frames out (``restore_frames``), files in, files out (``restore_video``)."""

from vsr_plugin.inference.restore_options import RestoreOptions, RestoreResult
from vsr_plugin.inference.restore_video import restore_video
from vsr_plugin.inference.restorer import restore_frames

__all__ = ["RestoreOptions", "RestoreResult", "restore_frames", "restore_video"]
