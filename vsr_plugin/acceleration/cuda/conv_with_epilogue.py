"""A convolution and what follows it by PyTorch's operators, and on CUDA by whichever way is fastest for its size.

PyTorch adds a bias, applies an activation and adds a residual in one pass over the features each. Beside a 3x3
convolution of 64 channels on tensor cores such a pass counts: the other ways do with fewer, our own kernel with none.
"""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from vsr_plugin.acceleration.cuda.kernels import CHANNELS, conv3x3, kernels_work, pack_conv3x3
from vsr_plugin.acceleration.cuda.tuning import Fastest

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


#: What our kernel takes of a weight and a bias, made once for each weight.
_PACKED = WeakTensorKeyDictionary()


def _packed(x: Tensor, weight: Tensor, bias: Tensor, stride: Pair, padding: Pair) -> tuple[Tensor, Tensor]:
    if (tuple(weight.shape), stride, padding) != ((CHANNELS, CHANNELS, 3, 3), (1, 1), (1, 1)):
        raise NotImplementedError("our kernel computes 3x3 convolutions of 64 channels that keep the size")
    if not (x.is_contiguous(memory_format=torch.channels_last) and kernels_work(x.device, x.dtype)):
        raise NotImplementedError("our kernel does not work here")
    if weight not in _PACKED:
        _PACKED[weight] = pack_conv3x3(weight), bias.float()
        # The kernel reads weights before it waits for what was launched before it; and other streams use them, too.
        torch.cuda.current_stream(x.device).synchronize()
    return _PACKED[weight]


def _by_own_kernel(x: Tensor, weight: Tensor, bias: Tensor, stride: Pair, padding: Pair, slope: float | None) -> Tensor:
    return conv3x3(x, *_packed(x, weight, bias, stride, padding), slope=1 if slope is None else slope)


def _add_by_own_kernel(
    x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, stride: Pair, padding: Pair
) -> Tensor:
    if not residual.is_contiguous(memory_format=torch.channels_last):
        raise NotImplementedError("our kernel adds features in the layout of its result")
    return conv3x3(x, *_packed(x, weight, bias, stride, padding), residual)


#: :func:`by_operators` on CUDA, or what is faster.
convolve = Fastest(by_operators, _by_cudnn, _in_one_pass, _by_own_kernel)
#: :func:`add_by_operators` on CUDA, or what is faster.
convolve_and_add = Fastest(add_by_operators, _add_in_one_pass, _add_by_own_kernel)
