"""Evaluation: image quality with its protocol."""

from vsr_plugin.evaluation.quality import Protocol, frame_quality

__all__ = ["Protocol", "frame_quality"]
