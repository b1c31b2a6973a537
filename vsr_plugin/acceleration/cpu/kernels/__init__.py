"""CPU kernels of our own, compiled at the first use by LLVM (``llvmlite``): convolutions by Winograd's method.

oneDNN convolves directly, near the peak of the machine, so only fewer multiplications can be faster.

- ``winograd_conv``, ``few_channels_conv`` (direct), ``deform_conv``: packing weights, launching; ``winograd_gradient``:
  the gradient of weights.
- ``winograd``: the method's matrices.
- ``codegen``: the kernels themselves, written for LLVM; ``kernel_args``: what they are called with.
- ``jit``: compiling them for this processor.
- ``parallel``: running them on the threads that PyTorch uses.
- ``self_test``: whether they work here.
"""

from vsr_plugin.acceleration.cpu.kernels.deform_conv import DeformConv
from vsr_plugin.acceleration.cpu.kernels.few_channels_conv import FewChannelsConv
from vsr_plugin.acceleration.cpu.kernels.jit import integers_beat_bf16, vector_lanes
from vsr_plugin.acceleration.cpu.kernels.self_test import (
    integer_obstacle,
    kernels_pay,
    missing_kernels,
    obstacle,
    training_obstacle,
)
from vsr_plugin.acceleration.cpu.kernels.winograd_conv import WinogradConv
from vsr_plugin.acceleration.cpu.kernels.winograd_gradient import weight_gradient

__all__ = [
    "DeformConv",
    "FewChannelsConv",
    "WinogradConv",
    "integer_obstacle",
    "integers_beat_bf16",
    "kernels_pay",
    "missing_kernels",
    "obstacle",
    "training_obstacle",
    "vector_lanes",
    "weight_gradient",
]
