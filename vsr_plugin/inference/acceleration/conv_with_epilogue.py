"""A convolution and what follows it by PyTorch's operators, and on CUDA by whichever way is fastest for its size.

PyTorch adds a bias, applies an activation and adds a residual in one pass over the features each. Beside a 3x3
convolution of 64 channels on tensor cores such a pass counts, so the other ways do with fewer.
"""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.inference.acceleration.tuning import Fastest

Pair = tuple[int, int]


def by_operators(x: Tensor, weight: Tensor, bias: Tensor, stride: Pair, padding: Pair, slope: float | None) -> Tensor:
    """``activation(conv(x))``; see ``FusedConv`` for ``slope``."""
    out = F.conv2d(x, weight, bias, stride, padding)
    if slope is None:
        return out
    return F.relu_(out) if slope == 0 else F.leaky_relu_(out, slope)


def add_by_operators(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, stride: Pair, padding: Pair) -> Tensor:
    """``residual + conv(x)``."""
    return F.conv2d(x, weight, bias, stride, padding).add_(residual)


def _by_cudnn(x: Tensor, weight: Tensor, bias: Tensor, stride: Pair, padding: Pair, slope: float | None) -> Tensor:
    if slope != 0:
        raise NotImplementedError("cuDNN's epilogue has a ReLU and no other activation")
    return torch.cudnn_convolution_relu(x, weight, bias, stride, padding, (1, 1), 1)


@functools.cache
def _compiled(expression: str, *inputs: str) -> Callable[..., Tensor]:
    """An elementwise operator that CUDA compiles at its first use; inputs are broadcast."""
    arguments = ", ".join(f"T {name}" for name in inputs)
    return torch.cuda.jiterator._create_jit_fn(f"template <typename T> T fused({arguments}) {{ return {expression}; }}")


def _in_one_pass(x: Tensor, weight: Tensor, bias: Tensor, stride: Pair, padding: Pair, slope: float | None) -> Tensor:
    if slope is None:
        raise NotImplementedError("there is nothing to save without an activation")
    activate = _compiled(f"y + b > T(0) ? y + b : T({float(slope)}) * (y + b)", "y", "b")
    return activate(F.conv2d(x, weight, None, stride, padding), bias.view(1, -1, 1, 1))


def _add_in_one_pass(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, stride: Pair, padding: Pair) -> Tensor:
    add = _compiled("y + r + b", "y", "r", "b")
    return add(F.conv2d(x, weight, None, stride, padding), residual, bias.view(1, -1, 1, 1))


#: :func:`by_operators` on CUDA, or what is faster.
convolve = Fastest(by_operators, _by_cudnn, _in_one_pass)
#: :func:`add_by_operators` on CUDA, or what is faster.
convolve_and_add = Fastest(add_by_operators, _add_in_one_pass)
