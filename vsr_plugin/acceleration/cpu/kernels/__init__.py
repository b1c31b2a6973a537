"""CPU kernels of our own, compiled at the first use by LLVM (``llvmlite``): convolutions by Winograd's method.

oneDNN convolves directly, near the peak of the machine, so only fewer multiplications can be faster.

- ``winograd_conv``, ``narrow_conv`` (direct, to very few channels), ``deform_conv``: packing weights, calling;
  ``calling`` is what they share.
- ``winograd``: the method's matrices.
- ``tasks``: the convolutions themselves, and ``call``: what they are called with.
- ``jit``: compiling them for this processor.
- ``team``: running them on the threads that PyTorch uses.
- ``trial``: whether they work here.
"""

from vsr_plugin.acceleration.cpu.kernels.deform_conv import DeformConv
from vsr_plugin.acceleration.cpu.kernels.narrow_conv import NarrowConv
from vsr_plugin.acceleration.cpu.kernels.trial import kernels_pay, missing_kernels, obstacle
from vsr_plugin.acceleration.cpu.kernels.winograd_conv import WinogradConv

__all__ = ["DeformConv", "NarrowConv", "WinogradConv", "kernels_pay", "missing_kernels", "obstacle"]
