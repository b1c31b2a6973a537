"""A convolution with what follows it (bias, activation, residual) in one pass, weights packed once."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.acceleration.cpu.kernels import WinogradConv, kernels_pay
from vsr_plugin.acceleration.cuda import conv_with_epilogue

Pair = tuple[int, int]


@functools.cache
def onednn_fuses(dtype: torch.dtype) -> bool:
    """Whether PyTorch's fused oneDNN convolutions exist here and give the right numbers.

    They are what TorchInductor uses and no public interface, so they are tried rather than assumed: their
    signatures may change, and builds without oneDNN do not have them.
    """
    generator = torch.Generator().manual_seed(0)
    x, other = (torch.randn(1, 16, 8, 8, generator=generator).to(dtype) for _ in range(2))
    weight, bias = torch.randn(16, 16, 3, 3, generator=generator).to(dtype), torch.ones(16, dtype=dtype)
    x, other = (t.contiguous(memory_format=torch.channels_last) for t in (x, other))
    plain = F.conv2d(x.float(), weight.float(), bias.float(), padding=1)
    try:
        packed = _pack(weight, (1, 1), (1, 1), x.shape)
        relu = _fused(x, packed, bias, (1, 1), (1, 1), "relu", [])
        residual = _fused_residual(x, other, packed, bias, (1, 1), (1, 1))
        in_place = _fused_residual_(x, other.clone(memory_format=torch.preserve_format), packed, bias, (1, 1), (1, 1))
    except (RuntimeError, AttributeError, TypeError, NotImplementedError):
        return False
    close = functools.partial(torch.allclose, rtol=2e-2, atol=0.2)
    return (
        close(relu.float(), plain.relu())
        and close(residual.float(), plain + other.float())
        and close(in_place.float(), plain + other.float())
    )


@functools.cache
def _layout_is_that_of_any_size() -> bool:
    """Whether oneDNN's kernels want weights in one layout whatever the size of the image, so that packing once will do.

    With AVX2 small images have another kernel; given weights in the layout of large ones oneDNN does not reorder them
    but falls back to one that is eleven times slower (64 channels, 16x16).
    """
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def describe_onednn(dtype: torch.dtype) -> str:
    """What computes convolutions in a precision on this CPU where there are no kernels of our own, and why it does."""
    if not onednn_fuses(dtype):
        return "plain operators (oneDNN's fused ones are missing or wrong in this PyTorch)"
    packed = "packed once" if _layout_is_that_of_any_size() else "packed at every call"
    return f"oneDNN, weights {packed} ({torch.backends.cpu.get_cpu_capability()})"


def _pack(weight: Tensor, padding: Pair, stride: Pair, input_shape: Sequence[int]) -> Tensor:
    return torch.ops.mkldnn._reorder_convolution_weight(
        weight.contiguous(memory_format=torch.channels_last), padding, stride, (1, 1), 1, list(input_shape)
    )


def _fused(x: Tensor, packed: Tensor, bias: Tensor, padding: Pair, stride: Pair, name: str, scalars: list) -> Tensor:
    return torch.ops.mkldnn._convolution_pointwise(x, packed, bias, padding, stride, (1, 1), 1, name, scalars, "")


def _fused_residual(x: Tensor, other: Tensor, packed: Tensor, bias: Tensor, padding: Pair, stride: Pair) -> Tensor:
    return torch.ops.mkldnn._convolution_pointwise.binary(
        x, other, packed, bias, padding, stride, (1, 1), 1, "add", 1.0, None, [], None
    )


def _fused_residual_(x: Tensor, other: Tensor, packed: Tensor, bias: Tensor, padding: Pair, stride: Pair) -> Tensor:
    return torch.ops.mkldnn._convolution_pointwise_.binary(
        other, x, packed, bias, padding, stride, (1, 1), 1, "add", 1.0, None, [], None
    )


class FusedConv(nn.Module):
    """A frozen ``nn.Conv2d`` in one precision and in channels-last layout, with its activation.

    On CPUs the activation or the residual is added before the result leaves the cache: by our own kernels
    (``cpu/kernels``) for large enough images in float32, by oneDNN otherwise, where possible with weights in the layout
    of its kernel. Elsewhere the same is done by separate operators.

    Args:
        weight, bias: of the convolution.
        dtype: precision of inputs, weights and result; inputs of another one are converted.
        padding, stride: of the convolution.
        slope: of the leaky ReLU that follows; 0 for ReLU, ``None`` for no activation.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype,
        padding: Pair = (1, 1),
        stride: Pair = (1, 1),
        slope: float | None = None,
    ):
        super().__init__()
        self.dtype = dtype
        self.padding = padding
        self.stride = stride
        self.slope = slope
        weight = weight.detach().to(dtype, memory_format=torch.channels_last, copy=True)
        bias = weight.new_zeros(weight.size(0)) if bias is None else bias.detach().to(dtype, copy=True)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)
        self._name, self._scalars = {None: ("none", []), 0: ("relu", [])}.get(slope, ("leaky_relu", [slope]))
        self._by_onednn = weight.device.type == "cpu" and onednn_fuses(dtype)
        self._packed: Tensor | None = None
        self._winograd = None
        if self._by_onednn and dtype == torch.float32 and WinogradConv.suits(weight, padding, stride):
            self._winograd = WinogradConv(weight, bias, slope)

    def __getstate__(self) -> dict[str, Any]:
        # What oneDNN has packed can be neither copied nor pickled; a copy packs its own.
        return {**self.__dict__, "_packed": None}

    @classmethod
    def of(cls, conv: nn.Conv2d, dtype: torch.dtype, slope: float | None = None) -> "FusedConv":
        """The same convolution as ``conv``, which must be dense and undilated."""
        return cls(conv.weight, conv.bias, dtype, tuple(conv.padding), tuple(conv.stride), slope)

    def multiply_integers(self) -> None:
        """Have kernels of our own multiply whole numbers of 16 bits, where they can."""
        if self._winograd is not None:
            self._winograd = WinogradConv(self.weight, self.bias, self.slope, integers=True)

    def prepare(self, x: Tensor) -> Tensor:
        """Bring an input to this convolution's precision and layout; nothing is copied where it has them."""
        return x.to(self.dtype, memory_format=torch.channels_last)

    @property
    def _for_onednn(self) -> Tensor:
        """The weights as they are given to oneDNN, packed when they are first used."""
        if not _layout_is_that_of_any_size():
            return self.weight  # which is reordered at every call, in some microseconds
        if self._packed is None:
            self._packed = _pack(self.weight, self.padding, self.stride, (1, self.weight.size(1), 180, 320))
        return self._packed

    def by_winograd(self, x: Tensor) -> WinogradConv | None:
        """What convolves an input of this size by kernels of our own, if that pays and they work here."""
        pays = self._winograd is not None and kernels_pay(x, self.weight)
        return self._winograd if pays else None

    def forward(self, x: Tensor, padding: Pair | None = None, into: Tensor | None = None) -> Tensor:
        """Convolve and activate.

        Args:
            x: ``(n, c_in, h, w)``.
            padding: rows of zeros above and below, instead of as many as the convolution pads on both sides.
            into: an earlier result, which is not needed any more; perhaps this one is written there, if it has the same
                shape. Large tensors that are made anew cost a page fault for each 4 KB.
        """
        x, (above, below) = self.prepare(x), padding or (self.padding[0],) * 2
        if winograd := self.by_winograd(x):
            return winograd(x, (above, below), into=into)
        if above != below:
            # The other convolutions pad both sides or none.
            x, above = F.pad(x, (0, 0, above, below)), 0
        padding = above, self.padding[1]
        if self._by_onednn:
            return _fused(x, self._for_onednn, self.bias, padding, self.stride, self._name, self._scalars)
        convolve = conv_with_epilogue.convolve if x.is_cuda else conv_with_epilogue.by_operators
        return convolve(x, self.weight, self.bias, self.stride, padding, self.slope)

    def add(self, x: Tensor, residual: Tensor) -> Tensor:
        """``residual + conv(x)``; there must be no activation."""
        x, residual = self.prepare(x), self.prepare(residual)
        if winograd := self.by_winograd(x):
            return winograd(x, residual=residual)
        if self._by_onednn:
            return _fused_residual(x, residual, self._for_onednn, self.bias, self.padding, self.stride)
        convolve_and_add = conv_with_epilogue.convolve_and_add if x.is_cuda else conv_with_epilogue.add_by_operators
        return convolve_and_add(x, residual, self.weight, self.bias, self.stride, self.padding)

    def add_(self, x: Tensor, residual: Tensor) -> Tensor:
        """The same, perhaps into ``residual``, which must have this convolution's precision and layout."""
        x = self.prepare(x)
        if winograd := self.by_winograd(x):
            return winograd(x, residual=residual, into=residual)
        if self._by_onednn:
            return _fused_residual_(x, residual, self._for_onednn, self.bias, self.padding, self.stride)
        return self.add(x, residual)
