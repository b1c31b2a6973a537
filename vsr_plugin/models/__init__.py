"""The networks and their parts: propagation, alignment, aggregation, upsampling; and the model that trains them."""

from vsr_plugin.models.aggregation import EDVRFeatureExtractor
from vsr_plugin.models.alignment import SPyNet
from vsr_plugin.models.basicvsr_net import BasicVSRNet
from vsr_plugin.models.iconvsr_net import IconVSRNet
from vsr_plugin.models.sequence_preprocessor import SequencePreprocessor
from vsr_plugin.models.video_restorer import VideoRestorer

__all__ = [
    "BasicVSRNet",
    "EDVRFeatureExtractor",
    "IconVSRNet",
    "SPyNet",
    "SequencePreprocessor",
    "VideoRestorer",
]

# Last, since it imports the networks: gives mmengine the published names, wherever a model is built.
import vsr_plugin.weights  # noqa: F401
