"""Modulated deformable convolution (DCNv2) with three interchangeable backends.

``mmcv`` (compiled ``mmcv.ops``), ``torchvision`` and ``torch`` (our own, plain PyTorch operators, for any device
and without compiling) compute the same function. The first that works on the device at hand is used, ours under
``torch.compile`` and in float64; set the environment variable ``VSR_DEFORM_CONV`` to a name to insist on one.
"""

import functools
import os
from collections.abc import Callable

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.utils import _pair

IntOrPair = int | tuple[int, int]

# torch.compiler.is_compiling came after PyTorch 2.1.
_is_compiling = getattr(torch.compiler, "is_compiling", None) or torch._utils.is_compiling

#: Sampled values held at once by the ``torch`` backend; larger outputs are computed in bands of rows.
_MAX_COLUMNS = 2**24


def sample_columns(x: Tensor, offset: Tensor, mask: Tensor, top: int, geometry: tuple) -> Tensor:
    """Values that the kernel taps read for a band of output rows.

    Args:
        x: ``(n, c, h, w)``.
        offset: ``(n, groups * taps * 2, rows, w_out)``, the rows of the band, vertical before horizontal.
        mask: ``(n, groups * taps, rows, w_out)``.
        top: first output row of the band.
        geometry: kernel size, stride, padding, dilation as pairs, and the number of deformable groups.

    Returns:
        ``(n, c, taps, rows * w_out)``.
    """
    (kh, kw), (sh, sw), (ph, pw), (dh, dw), deform_groups = geometry
    n, c, h, w = x.shape
    rows, w_out = offset.shape[-2:]
    taps = kh * kw
    options = dict(device=x.device, dtype=x.dtype)
    tap_y = (torch.arange(kh, **options) * dh).repeat_interleave(kw).view(taps, 1, 1)
    tap_x = (torch.arange(kw, **options) * dw).repeat(kh).view(taps, 1, 1)
    out_y = ((torch.arange(rows, **options) + top) * sh - ph).view(rows, 1)
    out_x = torch.arange(w_out, **options) * sw - pw

    offset = offset.reshape(n * deform_groups, taps, 2, rows, w_out)
    y = offset[:, :, 0] + tap_y + out_y
    x_pos = offset[:, :, 1] + tap_x + out_x
    grid = torch.stack(((2 * x_pos + 1) / w - 1, (2 * y + 1) / h - 1), dim=-1)
    columns = F.grid_sample(
        x.reshape(n * deform_groups, c // deform_groups, h, w),
        grid.view(n * deform_groups, taps * rows, w_out, 2),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    columns = columns.view(n * deform_groups, c // deform_groups, taps, rows * w_out)
    columns = columns * mask.reshape(n * deform_groups, 1, taps, rows * w_out)
    return columns.view(n, c, taps, rows * w_out)


def _deform_conv_torch(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    deform_groups: int,
) -> Tensor:
    n, c = x.shape[:2]
    c_out, _, kh, kw = weight.shape
    h_out, w_out = offset.shape[-2:]
    geometry = ((kh, kw), stride, padding, dilation, deform_groups)
    kernel = weight.reshape(groups, c_out // groups, -1)
    band = max(1, _MAX_COLUMNS // (n * c * kh * kw * w_out))
    out = []
    for top in range(0, h_out, band):
        rows = slice(top, top + band)
        columns = sample_columns(x, offset[:, :, rows], mask[:, :, rows], top, geometry)
        columns = columns.view(n, groups, (c // groups) * kh * kw, -1)
        out.append((kernel @ columns).view(n, c_out, -1, w_out))
    result = out[0] if len(out) == 1 else torch.cat(out, dim=2)
    return result if bias is None else result + bias.view(1, -1, 1, 1)


def off_default_stream(device: torch.device) -> bool:
    """Whether work on a device is being queued on another stream than CUDA's default one."""
    return device.type == "cuda" and torch.cuda.current_stream(device) != torch.cuda.default_stream(device)


def _mmcv_backend() -> Callable[..., Tensor]:
    from mmcv.ops import modulated_deform_conv2d as op

    return op


def _torchvision_backend() -> Callable[..., Tensor]:
    from torchvision.ops import deform_conv2d as op

    def run(x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups):
        if off_default_stream(x.device):
            # Before pytorch/vision #9522 (merged in July 2026) its kernels run on the default stream whatever the
            # current one is: at the wrong time, and not at all in a CUDA graph.
            return _deform_conv_torch(x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups)
        # torchvision reads both numbers of groups from the shapes.
        return op(x, offset, weight, bias, stride, padding, dilation, mask)

    return run


#: In order of preference. Ours is last because fused kernels need far less memory.
_BACKENDS: dict[str, Callable[[], Callable[..., Tensor]]] = {
    "mmcv": _mmcv_backend,
    "torchvision": _torchvision_backend,
    "torch": lambda: _deform_conv_torch,
}


@functools.cache
def _probe(name: str, device_type: str) -> tuple[Callable[..., Tensor] | None, str]:
    """Load a backend and run it once on a device; the operator, or ``None`` and the reason why not."""
    try:
        op = _BACKENDS[name]()
        with torch.no_grad():
            ones = functools.partial(torch.ones, device=device_type)
            out = op(
                ones(1, 2, 3, 3), ones(1, 18, 3, 3), ones(1, 9, 3, 3), ones(2, 2, 3, 3), None,
                (1, 1), (1, 1), (1, 1), 1, 1,
            )  # fmt: skip
            out.sum().item()
    except Exception as error:  # compiled extensions fail in many ways: absent, other ABI, no CUDA kernels
        return None, (str(error).strip().splitlines() or [type(error).__name__])[0]
    return op, ""


def _active_backend(device_type: str) -> str:
    wanted = os.environ.get("VSR_DEFORM_CONV", "")
    if wanted and wanted not in _BACKENDS:
        raise ValueError(f"VSR_DEFORM_CONV={wanted!r} is not a backend; choose one of {', '.join(_BACKENDS)}")
    for name in [wanted] if wanted else _BACKENDS:
        op, reason = _probe(name, device_type)
        if op is not None:
            return name
    raise RuntimeError(f"VSR_DEFORM_CONV={wanted!r} does not work on {device_type}: {reason}")


def _select(backend: str | None, device_type: str, dtype: torch.dtype) -> Callable[..., Tensor]:
    if backend is None and _is_compiling():
        return _deform_conv_torch  # the compiler sees through it; the others would break or hide the graph
    if backend is None and dtype == torch.float64:
        # mmcv 2.1 floors positions in float32 and so loses whole samples that lie within 1e-5 of a border.
        return _deform_conv_torch
    op, reason = _probe(backend or _active_backend(device_type), device_type)
    if op is None:
        raise RuntimeError(f"deformable-convolution backend {backend!r} does not work on {device_type}: {reason}")
    return op


def describe_backends(device: torch.device) -> list[tuple[str, str]]:
    """Each backend with ``'active'``, ``'available'`` or the reason why it does not work on ``device``."""
    active = _active_backend(device.type)
    described = []
    for name in _BACKENDS:
        op, reason = _probe(name, device.type)
        state = "active" if name == active else "available"
        described.append((name, state if op is not None else f"not available ({reason})"))
    return described


def modulated_deform_conv2d(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    deform_groups: int = 1,
    *,
    backend: str | None = None,
) -> Tensor:
    """Convolution whose taps are displaced and weighted per pixel (Zhu et al., Deformable ConvNets v2, CVPR 2019).

    Positions and sums are computed in at least float32, also under autocast. Outside the image lies zero.

    Args:
        x: ``(n, c, h, w)``.
        offset: displacements in pixels ``(n, deform_groups * kh * kw * 2, h_out, w_out)``; for each group and
            tap the vertical one, then the horizontal one.
        mask: factors ``(n, deform_groups * kh * kw, h_out, w_out)``.
        weight: ``(c_out, c // groups, kh, kw)``.
        bias: ``(c_out,)`` or ``None``.
        stride, padding, dilation, groups: as for ``F.conv2d``.
        deform_groups: groups of channels that share displacements.
        backend: ``'mmcv'``, ``'torchvision'``, ``'torch'``, or ``None`` for the best that works here.

    Returns:
        ``(n, c_out, h_out, w_out)`` in the dtype of ``x``.

    Raises:
        RuntimeError: the backend that was asked for does not work on this device.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    op = _select(backend, x.device.type, dtype)
    with torch.autocast(x.device.type, enabled=False):
        out = op(
            x.to(dtype),
            offset.to(dtype),
            mask.to(dtype),
            weight.to(dtype),
            None if bias is None else bias.to(dtype),
            _pair(stride),
            _pair(padding),
            _pair(dilation),
            groups,
            deform_groups,
        )
    return out.to(x.dtype)


class ModulatedDeformConv(nn.Module):
    """Weights of a 3x3 deformable convolution of stride 1; base of those that say where displacements come from.

    Args:
        in_channels: of what is sampled.
        out_channels: of the result.
        deform_groups: groups of input channels that share displacements; must divide ``in_channels``.

    Raises:
        ValueError: it does not.
    """

    def __init__(self, in_channels: int, out_channels: int, deform_groups: int):
        super().__init__()
        if deform_groups < 1 or in_channels % deform_groups:
            # mmcv's kernel would silently leave channels out.
            raise ValueError(f"`deform_groups` must divide the {in_channels} channels, got {deform_groups}")
        self.deform_groups = deform_groups
        # Uniform within 1 / sqrt(fan in), as mmcv's, and no bias.
        weight = torch.empty(out_channels, in_channels, 3, 3).uniform_(-1, 1)
        self.weight = nn.Parameter(weight / (9 * in_channels) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def part(self, predicted: Tensor) -> tuple[Tensor, Tensor]:
        """Displacements ``(n, 18 * groups, h, w)`` and factors, half as many, of what a convolution predicts."""
        return predicted.split((18 * self.deform_groups, 9 * self.deform_groups), dim=1)

    def deform(self, x: Tensor, displacements: Tensor, factors: Tensor) -> Tensor:
        """Convolve ``(n, in_channels, h, w)``; see :func:`modulated_deform_conv2d`.

        A method so that exported networks can put their own in its place.
        """
        return modulated_deform_conv2d(
            x, displacements, factors, self.weight, self.bias, padding=1, deform_groups=self.deform_groups
        )


class ModulatedDCNPack(ModulatedDeformConv):
    """3x3 deformable convolution that predicts its displacements and factors from other features (EDVR).

    Args:
        channels: input and output channels.
        deform_groups: groups of channels that share displacements; must divide ``channels``.

    Raises:
        ValueError: it does not.
    """

    def __init__(self, channels: int, deform_groups: int):
        super().__init__(channels, channels, deform_groups)
        # It begins without displacements, and factors of 1/2.
        self.conv_offset = nn.Conv2d(channels, 27 * deform_groups, 3, padding=1)
        nn.init.zeros_(self.conv_offset.weight)
        nn.init.zeros_(self.conv_offset.bias)

    def forward(self, x: Tensor, offset_feat: Tensor) -> Tensor:
        """Map features ``(n, c, h, w)``, displaced as ``offset_feat`` ``(n, c, h, w)`` says, to ``(n, c, h, w)``."""
        displacements, factors = self.part(self.conv_offset(offset_feat))
        return self.deform(x, displacements, factors.sigmoid())
