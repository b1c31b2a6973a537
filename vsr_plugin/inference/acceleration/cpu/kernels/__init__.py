"""CPU kernels of our own: convolutions by Winograd's method, compiled at the first use by LLVM (``llvmlite``).

oneDNN convolves directly, near the peak of the machine, so only fewer multiplications can be faster.

- ``winograd``: the method's matrices, and how many multiplications it takes.
- ``vector_code``: writing loops and vectors for LLVM.
- ``call``: what a task is called with.
- ``emission``: the task, a convolution, written in them.
- ``jit``: compiling for this processor.
- ``team``: running on the threads that PyTorch uses.
- ``convolution``: packing weights, calling.
- ``trial``: whether they work here.
"""

from vsr_plugin.inference.acceleration.cpu.kernels.convolution import WinogradConv
from vsr_plugin.inference.acceleration.cpu.kernels.trial import kernels_work, obstacle

__all__ = ["WinogradConv", "kernels_work", "obstacle"]
