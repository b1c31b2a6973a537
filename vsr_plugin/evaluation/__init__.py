"""Evaluation: image quality with its protocol."""

from vsr_plugin.evaluation.clip_quality import ClipQuality
from vsr_plugin.evaluation.quality import Protocol, frame_quality
from vsr_plugin.evaluation.quality_report import ClipScores, QualityReport, report_table

__all__ = ["ClipQuality", "ClipScores", "Protocol", "QualityReport", "frame_quality", "report_table"]
