"""Convolutions by kernels of our own with their gradients, which are computed by such kernels too.

The gradient of a convolution's input is a convolution of the result's gradient, with filters that are turned by 180
degrees and whose channels have changed places; that of its weights is :func:`weight_gradient`.

An activation is differentiated where its result is read, since that is kept for the weights' gradient anyway: a
convolution that activates takes what comes in as the gradient of what came before the activation, and whatever reads
its result must be told so (``slope_before``).
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from vsr_plugin.acceleration.cpu.kernels import FewChannelsConv, WinogradConv, weight_gradient
from vsr_plugin.acceleration.cpu.kernels.kernel_args import channels_last

_Gradients = tuple[Tensor | None, ...]


class TrainedConv:
    """A convolution of stride 1 that keeps the size, for as long as its weights stay as they are.

    Args:
        weight: ``(c_out, c_in, r, r)`` such as :meth:`WinogradConv.suits` wants, float32.
        bias: ``(c_out,)``; ``None`` for none.
        slope: of the leaky ReLU that follows and leaves its derivative to what reads the result; 0 for ReLU, ``None``
            for none.
        slope_before: of the leaky ReLU that gave what is convolved, if that leaves its derivative to this.
        shuffle: by which factor the result is shuffled, as ``F.pixel_shuffle`` does.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        *,
        slope: float | None = None,
        slope_before: float | None = None,
        shuffle: int = 1,
    ):
        self.weight, self.bias = weight, bias
        self.slope, self.slope_before, self.shuffle = slope, slope_before, shuffle

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Convolve ``(n, c_in, h, w)``, add, activate and shuffle, with gradients if they are recorded."""
        return _Conv.apply(x, self.weight, self.bias, residual, self)

    @functools.cached_property
    def kernel(self) -> WinogradConv:
        """What convolves features."""
        weight = self.weight.detach()
        bias = weight.new_zeros(len(weight)) if self.bias is None else self.bias.detach()
        return WinogradConv(self._by_pixel(weight).flatten(0, 1), self._by_pixel(bias).flatten(0, 1), self.slope)

    @functools.cached_property
    def turned(self) -> list[WinogradConv]:
        """What convolves gradients, for each of the pixels that one pixel becomes."""
        weights = self._by_pixel(self.weight.detach()).flip(-1, -2).transpose(1, 2)
        zeros = weights.new_zeros(weights.size(1))
        return [WinogradConv(weight, zeros, None) for weight in weights]

    def input_gradient(self, x: Tensor, gradient: Tensor, residual: Tensor | None = None) -> Tensor:
        """Of what is convolved, plus a residual; if that comes from an activation, of what comes before it."""
        parts = self._parts(gradient)
        total = residual
        for k, (conv, part) in enumerate(zip(self.turned, parts, strict=True)):
            gate = x if self.slope_before is not None and k == len(parts) - 1 else None
            # The residual is the caller's, sums are this method's.
            total = conv(
                part, residual=total, gate=gate, gate_slope=self.slope_before or 0.0, into=total if k else None
            )
        return total

    def parameter_gradients(self, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Of weight and bias."""
        of_weight = weight_gradient if self.weight.size(2) == 3 else _direct_weight_gradient
        parts = [of_weight(x, part, self.weight.size(2)) for part in self._parts(gradient)]
        if len(parts) == 1:
            return parts[0]
        return tuple(torch.stack(of_pixels, dim=1).flatten(0, 1) for of_pixels in zip(*parts, strict=True))

    def _by_pixel(self, values: Tensor) -> Tensor:
        """Output channels ``(c_out, ...)`` as ``(shuffle^2, c_out / shuffle^2, ...)``."""
        return values.unflatten(0, (-1, self.shuffle**2)).transpose(0, 1)

    def _parts(self, shuffled: Tensor) -> list[Tensor]:
        s = self.shuffle
        return [shuffled[:, :, y::s, x::s] for y in range(s) for x in range(s)]


def _direct_weight_gradient(x: Tensor, gradient: Tensor, taps: int) -> tuple[Tensor, Tensor]:
    """:func:`weight_gradient` by oneDNN, for 7x7: by Winograd's method, rounding would be 1e-5 of it."""
    weight = x.new_empty(gradient.size(1), taps, taps, x.size(1)).permute(0, 3, 1, 2)
    _, of_weight, of_bias = _backward(gradient, x, weight, (False, True, True))
    return of_weight, of_bias


def _backward(gradient: Tensor, x: Tensor, weight: Tensor, wanted: Sequence[bool]) -> _Gradients:
    """Gradients of input, weight and bias of a convolution by PyTorch's operator; all tensors are channels last."""
    bias, padding = weight.shape[:1], [weight.size(2) // 2] * 2
    geometry = [1, 1], padding, [1, 1], False, [0, 0], 1
    return torch.ops.aten.convolution_backward(gradient, x, weight, bias, *geometry, wanted)


class _Conv(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, conv: TrainedConv
    ) -> Tensor:
        x = channels_last(x, weight.size(1))
        ctx.save_for_backward(x)
        ctx.conv = conv
        return conv.kernel(x, residual=residual, shuffle=conv.shuffle)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> _Gradients:
        (x,), conv = ctx.saved_tensors, ctx.conv
        for_x, for_weight, for_bias, for_residual, _ = ctx.needs_input_grad
        gradient = channels_last(gradient, gradient.size(1))
        weight, bias = conv.parameter_gradients(x, gradient) if for_weight or for_bias else (None, None)
        return (
            conv.input_gradient(x, gradient) if for_x else None,
            weight,
            bias if for_bias else None,
            gradient if for_residual else None,
            None,
        )


def residual_block(x: Tensor, first: TrainedConv, second: TrainedConv) -> Tensor:
    """``x + second(first(x))`` of ``(n, c, h, w)``; ``first`` activates, and ``second`` has its ``slope_before``."""
    return _ResidualBlock.apply(x, first.weight, first.bias, second.weight, second.bias, first, second)


class _ResidualBlock(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *layers: Any) -> Tensor:
        *_, first, second = layers
        x = channels_last(x, first.weight.size(1))
        inner = first.kernel(x)
        ctx.save_for_backward(x, inner)
        ctx.convs = first, second
        return second.kernel(inner, residual=x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> _Gradients:
        (x, inner), (first, second) = ctx.saved_tensors, ctx.convs
        for_x, for_weight, for_bias, for_second_weight, for_second_bias, *_ = ctx.needs_input_grad
        gradient = channels_last(gradient, gradient.size(1))
        second_weight = second_bias = weight = bias = total = None
        if for_second_weight or for_second_bias:
            second_weight, second_bias = second.parameter_gradients(inner, gradient)
        if for_x or for_weight or for_bias:
            inner_gradient = second.input_gradient(inner, gradient)
            if for_weight or for_bias:
                weight, bias = first.parameter_gradients(x, inner_gradient)
            if for_x:
                total = first.input_gradient(x, inner_gradient, residual=gradient)
        return total, weight, bias, second_weight, second_bias, None, None


def last_conv(x: Tensor, weight: Tensor, bias: Tensor, slope_before: float) -> Tensor:
    """A convolution to very few channels, such as :meth:`FewChannelsConv.suits` wants; see :class:`TrainedConv`."""
    return _LastConv.apply(x, weight, bias, slope_before)


class _LastConv(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, slope_before: float) -> Tensor:
        x = channels_last(x, weight.size(1))
        ctx.save_for_backward(x, weight)
        ctx.slope_before = slope_before
        return FewChannelsConv(weight, bias)(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> _Gradients:
        x, weight = ctx.saved_tensors
        gradient, weight = (t.contiguous(memory_format=torch.channels_last) for t in (gradient, weight))
        total, of_weight, of_bias = _backward(gradient, x, weight, ctx.needs_input_grad[:3])
        if total is not None:
            total = torch.ops.aten.leaky_relu_backward(total, x, ctx.slope_before, True)
        return total, of_weight, of_bias, None
