"""Alignment, one choice a file: none, image, feature, deformable; and what they stand on, SPyNet's flow and warping."""

from vsr_plugin.models.alignment.alignment import ALIGNMENTS, Alignment
from vsr_plugin.models.alignment.deformable_alignment import DeformableAlignment
from vsr_plugin.models.alignment.feature_alignment import FeatureAlignment
from vsr_plugin.models.alignment.image_alignment import ImageAlignment
from vsr_plugin.models.alignment.no_alignment import NoAlignment
from vsr_plugin.models.alignment.spynet import SPyNet
from vsr_plugin.ops.flow_warp import flow_warp

__all__ = [
    "ALIGNMENTS",
    "Alignment",
    "DeformableAlignment",
    "FeatureAlignment",
    "ImageAlignment",
    "NoAlignment",
    "SPyNet",
    "flow_warp",
]
