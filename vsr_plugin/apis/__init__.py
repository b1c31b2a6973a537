"""Inference with the calls of MMagic's API: any length, frame rate and audio kept, results returned.

Importing this package also makes the models of this package known to MMagic's own ``MMagicInferencer`` by name.
"""

from vsr_plugin.apis.mmagic_inferencer import MMagicInferencer
from vsr_plugin.apis.named_models import NAMED_MODELS, NamedModel
from vsr_plugin.apis.restored_frames import RestoredFrames
from vsr_plugin.apis.vsr_inferencer import InferenceResult, VSRInferencer

__all__ = [
    "NAMED_MODELS",
    "InferenceResult",
    "MMagicInferencer",
    "NamedModel",
    "RestoredFrames",
    "VSRInferencer",
]
