"""Whether the kernels work on a device: they are tried against PyTorch's operators, so nothing is assumed of it."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.acceleration.cuda.kernels.convolution import conv3x3, pack_conv3x3
from vsr_plugin.acceleration.cuda.kernels.pixels import (
    deform_conv,
    enlarge,
    frame_conv,
    last_conv,
    pack_deform_conv,
    pack_frame_conv,
    pack_last_conv,
    warp,
)
from vsr_plugin.models.aggregation import upsample_x2
from vsr_plugin.ops.deform_conv import modulated_deform_conv2d
from vsr_plugin.ops.flow_warp import flow_warp

#: Largest error in numbers of magnitude 1, of results rounded to 11 and to 8 bits.
_TOLERANCE = {torch.float16: 1e-2, torch.bfloat16: 8e-2}


def comparisons(device: torch.device, dtype: torch.dtype) -> dict[str, tuple[Tensor, Tensor]]:
    """What each kernel gives, and what PyTorch's operators in float32 give, for odd sizes and random numbers.

    Raises:
        RuntimeError: a kernel cannot be compiled or launched.
    """
    generator = torch.Generator(device).manual_seed(0)

    def random(*shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(*shape, generator=generator, device=device)

    def features(*shape: int) -> Tensor:
        return random(*shape).to(dtype, memory_format=torch.channels_last)

    n, h, w = 2, 21, 35
    x, hr_features = features(n, 64, h, w), {scale: features(n, 64, scale * h, scale * w) for scale in (2, 4)}
    # Several tiles of 15 and of 16 rows.
    many, residual, taller = features(n, 64, 100, 70), features(n, 64, 100, 70), features(n, 64, 95, 70)
    weight, bias = random(64, 64, 3, 3, scale=1 / 24).to(dtype), random(64)
    wide = {s: (random(64 * s**2, 64, 3, 3, scale=1 / 24).to(dtype), random(64 * s**2)) for s in (2, 3)}
    narrow, narrow_bias = random(3, 64, 3, 3, scale=1 / 24).to(dtype), random(3)
    frame, frame_weight, flow = random(n, 3, h, w), random(64, 3, 3, 3, scale=0.2), random(n, 2, h, w, scale=9.0)
    guide = torch.cat((random(n, 144, h, w, scale=3.0), random(n, 72, h, w)), dim=1).to(dtype)
    guide, guide_bias = guide.contiguous(memory_format=torch.channels_last), random(216)
    biased = guide.float() + guide_bias.view(1, -1, 1, 1)
    # Two states of 64 channels, each in 8 groups that are displaced around the flow to it.
    states, flows = features(n, 128, h, w), random(n, 4, h, w, scale=5.0)
    residues, wider = random(n, 432, h, w).contiguous(memory_format=torch.channels_last), random(432)
    states_weight = random(64, 128, 3, 3, scale=1 / 34).to(dtype)
    guiding = residues + wider.view(1, -1, 1, 1)
    around = flows.view(n, 2, 1, 2, h, w).flip(3) + 7 * guiding[:, :288].view(n, 2, 72, 2, h, w).tanh()

    packed = pack_conv3x3(weight)
    packed_wide = {s: (pack_conv3x3(w, s), b.view(64, s**2).t().reshape(-1).contiguous()) for s, (w, b) in wide.items()}
    torch.cuda.current_stream(device).synchronize()  # the kernel reads weights before it waits for other kernels

    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False):
        conv = F.conv2d(many.float(), weight.float(), bias, padding=1)
        return {
            "conv3x3, ReLU": (conv3x3(many, packed, bias, slope=0), conv.relu()),
            "conv3x3, residual, leaky ReLU": (
                conv3x3(many, packed, bias, residual, slope_of_sum=0.1),
                F.leaky_relu(conv + residual.float(), 0.1),
            ),
            **{
                f"conv3x3, pixel shuffle by {s}": (
                    conv3x3(taller, *packed_wide[s], slope=0.1, shuffle=s),
                    F.leaky_relu(F.pixel_shuffle(F.conv2d(taller.float(), w.float(), b, padding=1), s), 0.1),
                )
                for s, (w, b) in wide.items()
            },
            "enlarge": (enlarge(x, 2.0), upsample_x2(x.float(), 2.0)),
            "warp": (warp(x, flow), flow_warp(x.float(), flow)),
            **{
                f"deform_conv, {given.dtype}": (
                    deform_conv(x, given, guide_bias, pack_deform_conv(weight), bias.to(dtype)),
                    modulated_deform_conv2d(
                        *(x.float(), biased[:, :144], biased[:, 144:].sigmoid(), weight.float(), bias),
                        padding=1,
                        deform_groups=8,
                        backend="torch",
                    ),
                )
                for given in (guide, guide.float())
            },
            "deform_conv around flow": (
                deform_conv(states, residues, wider, pack_deform_conv(states_weight), bias.to(dtype), flows, 7.0),
                modulated_deform_conv2d(
                    *(states.float(), around.flatten(1, 3), guiding[:, 288:].sigmoid(), states_weight.float(), bias),
                    padding=1,
                    deform_groups=16,
                    backend="torch",
                ),
            ),
            "frame_conv": (
                frame_conv(frame, pack_frame_conv(frame_weight), dtype),
                F.conv2d(frame, frame_weight, padding=1),
            ),
            **{
                f"last_conv, x{scale}": (
                    last_conv(feat, pack_last_conv(narrow), narrow_bias, frame, scale),
                    F.conv2d(feat.float(), narrow.float(), narrow_bias, padding=1)
                    + F.interpolate(frame, scale_factor=scale, mode="bilinear", align_corners=False),
                )
                for scale, feat in hr_features.items()
            },
        }


@functools.cache
def obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why the kernels are not used on a device for features of a dtype; ``None`` if they are.

    Raises:
        torch.cuda.OutOfMemoryError: there is no memory to try them.
    """
    if device.type != "cuda" or torch.version.hip is not None:
        return "they are for NVIDIA GPUs"
    if dtype not in _TOLERANCE:
        return "they are for half precision"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "they are for compute capability 8.0 and later"
    try:
        with torch.cuda.device(device):
            tried = comparisons(device, dtype)
            errors = {
                name: float((got - right).abs().max() / right.abs().max()) for name, (got, right) in tried.items()
            }
    except torch.cuda.OutOfMemoryError:
        raise  # says nothing about the kernels
    except (RuntimeError, OSError, AttributeError) as error:  # no compiler, or a driver of another age
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    wrong = [name for name, error in errors.items() if not error < _TOLERANCE[dtype]]  # NaN is not
    return f"they give other numbers than PyTorch: {', '.join(wrong)}" if wrong else None


def kernels_work(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether all kernels can be compiled for a device and give the right numbers there."""
    return obstacle(device, dtype) is None
