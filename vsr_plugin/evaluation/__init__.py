"""Evaluation: image quality with its protocol."""

from vsr_plugin.evaluation.clip_quality import ClipQuality, ClipScores, QualityReport, report_table
from vsr_plugin.evaluation.quality import Protocol, frame_quality
from vsr_plugin.evaluation.step_error import StepError

__all__ = ["ClipQuality", "ClipScores", "Protocol", "QualityReport", "StepError", "frame_quality", "report_table"]
