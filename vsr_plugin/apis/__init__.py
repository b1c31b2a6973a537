"""Inference with the calls of MMagic's API: any length, frame rate and audio kept, results returned.

Importing this package also makes the models of this package known to MMagic's own ``MMagicInferencer`` by name.
"""

from vsr_plugin.apis.mmagic_inferencer import NAMED_MODELS, MMagicInferencer, NamedModel
from vsr_plugin.apis.vsr_inferencer import InferenceResult, RestoredFrames, VSRInferencer

__all__ = [
    "NAMED_MODELS",
    "InferenceResult",
    "MMagicInferencer",
    "NamedModel",
    "RestoredFrames",
    "VSRInferencer",
]
