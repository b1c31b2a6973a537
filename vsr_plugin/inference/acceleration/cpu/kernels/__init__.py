"""CPU kernels of our own, compiled at the first use by LLVM (``llvmlite``): convolutions by Winograd's method.

oneDNN convolves directly, near the peak of the machine, so only fewer multiplications can be faster.

- ``winograd``: the method's matrices, and how many multiplications it takes.
- ``vector_code``: writing loops and vectors for LLVM.
- ``call``: what a task is called with.
- ``products``: the innermost loop.
- ``winograd_task``, ``narrow_task``, ``deform_task``: convolutions written in them; the second is direct, to very few
  channels, the third deformable.
- ``jit``: compiling for this processor.
- ``team``: running on the threads that PyTorch uses.
- ``convolution``: packing weights, calling.
- ``trial``: whether they work here.
"""

from vsr_plugin.inference.acceleration.cpu.kernels.convolution import DeformConv, NarrowConv, WinogradConv
from vsr_plugin.inference.acceleration.cpu.kernels.jit import missing_compiler
from vsr_plugin.inference.acceleration.cpu.kernels.trial import kernels_pay, obstacle

__all__ = ["DeformConv", "NarrowConv", "WinogradConv", "kernels_pay", "missing_compiler", "obstacle"]
