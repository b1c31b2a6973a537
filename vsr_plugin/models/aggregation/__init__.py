"""Aggregation: how features of several frames are merged; information-refill with EDVR-M at keyframes."""

from vsr_plugin.models.aggregation.edvr_feature_extractor import EDVRFeatureExtractor
from vsr_plugin.models.aggregation.information_refill import InformationRefill

__all__ = ["EDVRFeatureExtractor", "InformationRefill"]
