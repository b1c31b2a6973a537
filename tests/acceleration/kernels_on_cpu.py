"""The CUDA kernels' functions by PyTorch's operators in float32, from the packed weights: for tests without a GPU."""

import torch
import torch.nn.functional as F

from vsr_plugin.models.aggregation import upsample_x2
from vsr_plugin.models.alignment import flow_warp
from vsr_plugin.ops.deform_conv import modulated_deform_conv2d


def _check(x):
    assert x.dtype in (torch.float16, torch.bfloat16)
    assert x.is_contiguous(memory_format=torch.channels_last)


def _rounded(x, dtype):
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


def conv3x3(x, packed, bias, residual=None, *, slope=1.0, slope_of_sum=1.0, shuffle=1):
    _check(x)
    assert x.size(1) == 64
    assert packed.shape == (shuffle**2, 9, 8, 64, 8)
    assert packed.is_contiguous()
    assert bias.dtype == torch.float32
    weight = packed.permute(0, 3, 2, 4, 1).reshape(shuffle**2 * 64, 64, 3, 3)
    out = F.leaky_relu(F.conv2d(x.float(), weight.float(), bias, padding=1), slope)
    n, _, h, w = x.shape
    by_channel = out.view(n, shuffle**2, 64, h, w).transpose(1, 2).reshape(n, -1, h, w)
    out = F.pixel_shuffle(by_channel, shuffle)
    if residual is not None:
        assert residual.shape == out.shape
        out = F.leaky_relu(out + residual.float(), slope_of_sum)
    return _rounded(out, x.dtype)


def warp(x, flow):
    _check(x)
    assert flow.is_contiguous()
    assert flow.dtype == torch.float32
    return _rounded(flow_warp(x.float(), flow), x.dtype)


def enlarge(x, factor=1.0):
    _check(x)
    return _rounded(upsample_x2(x.float(), factor), x.dtype)


def frame_conv(frame, packed, dtype):
    assert frame.is_contiguous()
    assert packed.is_contiguous()
    return _rounded(F.conv2d(frame, packed.permute(3, 0, 1, 2), padding=1), dtype)


def last_conv(x, packed, bias, frame, scale):
    _check(x)
    assert packed.is_contiguous()
    weight = packed[:, :27].view(8, 3, 9, 8).permute(1, 0, 3, 2).reshape(3, 64, 3, 3)
    base = F.interpolate(frame, scale_factor=scale, mode="bilinear", align_corners=False)
    return F.conv2d(x.float(), weight.float(), bias, padding=1) + base


def deform_conv(x, guide, guide_bias, packed, bias, flow=None, reach=0.0):
    _check(x)
    assert guide.is_contiguous(memory_format=torch.channels_last)
    n, c, h, w = x.shape
    groups = guide.size(1) // 27
    assert c % (8 * groups) == 0
    guide = guide.float() + guide_bias.view(1, -1, 1, 1)
    displacements, factors = guide.split((18 * groups, 9 * groups), dim=1)
    if flow is not None:
        assert flow.is_contiguous()
        assert flow.dtype == torch.float32
        states = flow.size(1) // 2
        residues = reach * displacements.tanh().view(n, states, -1, 2, h, w)
        displacements = (residues + flow.view(n, states, 1, 2, h, w).flip(3)).flatten(1, 3)
    weight = packed.view(9, c // 8, 8, -1).permute(3, 1, 2, 0).reshape(-1, c, 3, 3)
    out = modulated_deform_conv2d(
        *(x.float(), displacements, factors.sigmoid(), weight.float(), bias.float()), padding=1, deform_groups=groups
    )
    return _rounded(out, x.dtype)


def flow_start(reference, neighbour, coarse):
    assert reference.dtype == neighbour.dtype == torch.float32
    assert reference.is_contiguous()
    assert neighbour.is_contiguous()
    n, _, h, w = reference.shape
    flow = reference.new_zeros(n, 2, h, w)
    if coarse is not None:
        flow = 2 * F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=True)
    warped = flow_warp(neighbour, flow, padding_mode="border")
    return flow, _rounded(torch.cat((reference, warped, flow), dim=1), torch.float16)


def _flow_conv(x, packed, bias):
    _check(x)
    assert packed.is_contiguous()
    c = x.size(1)
    weight = packed[: 49 * c // 8].view(7, 7, c // 8, -1, 8).permute(3, 2, 4, 0, 1).flatten(1, 2)
    return F.conv2d(x.float(), weight.float()[: len(bias)], bias, padding=3)


def flow_conv(x, packed, bias):
    return _rounded(_flow_conv(x, packed, bias).relu(), torch.float16)


def flow_conv_add_(flow, x, packed, bias):
    return flow.add_(_flow_conv(x, packed, bias))


FUNCTIONS = {
    f.__name__: f
    for f in (conv3x3, warp, enlarge, frame_conv, last_conv, deform_conv, flow_start, flow_conv, flow_conv_add_)
}  # fmt: skip
