"""CUDA kernels of our own: sources (``*.cu``; ``common.cu`` is what they share), and how they are compiled and called.

- ``nvrtc.py``: compiling and launching, without a toolkit.
- ``convolution``: the convolution of 64 channels that nearly all of the work is.
- ``pixels``: warping, deformable convolutions, the frame's part of the first convolution, the last convolution.
- ``flow``: the flow network's convolutions, on Hopper GPUs.
- ``self_test``: whether they work here.
"""

from vsr_plugin.acceleration.cuda.kernels.convolution import CHANNELS, conv3x3, pack_conv3x3
from vsr_plugin.acceleration.cuda.kernels.flow import flow_conv, flow_conv_add_, flow_start, pack_flow_conv
from vsr_plugin.acceleration.cuda.kernels.pixels import (
    deform_conv,
    enlarge,
    frame_conv,
    last_conv,
    pack_deform_conv,
    pack_frame_conv,
    pack_last_conv,
    warp,
)
from vsr_plugin.acceleration.cuda.kernels.self_test import kernels_work, obstacle

__all__ = [
    "CHANNELS",
    "conv3x3",
    "deform_conv",
    "enlarge",
    "flow_conv",
    "flow_conv_add_",
    "flow_start",
    "frame_conv",
    "kernels_work",
    "last_conv",
    "obstacle",
    "pack_conv3x3",
    "pack_deform_conv",
    "pack_flow_conv",
    "pack_frame_conv",
    "pack_last_conv",
    "warp",
]
