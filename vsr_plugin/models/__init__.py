"""The networks and their parts: cleaning, propagation, alignment, aggregation, upsampling."""

from vsr_plugin.models.aggregation import EDVRFeatureExtractor
from vsr_plugin.models.basicvsr_net import BasicVSRNet
from vsr_plugin.models.basicvsr_pp_net import BasicVSRPlusPlusNet
from vsr_plugin.models.iconvsr_net import IconVSRNet
from vsr_plugin.models.real_basicvsr_net import RealBasicVSRNet
from vsr_plugin.models.spynet import SPyNet

__all__ = [
    "BasicVSRNet",
    "BasicVSRPlusPlusNet",
    "EDVRFeatureExtractor",
    "IconVSRNet",
    "RealBasicVSRNet",
    "SPyNet",
]
