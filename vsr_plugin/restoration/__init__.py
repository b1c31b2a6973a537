"""Restoration: files in, files out (``restore_video``), as jobs that survive their process."""

from vsr_plugin.restoration.options import RestoreOptions, RestoreResult
from vsr_plugin.restoration.restore_video import restore_video

__all__ = ["RestoreOptions", "RestoreResult", "restore_video"]
