"""Make a copy of a network that computes the same, faster."""

import copy
import functools
from collections.abc import Callable

import torch
import torch.nn as nn

from vsr_plugin.acceleration import generic
from vsr_plugin.acceleration.cpu import components as cpu
from vsr_plugin.acceleration.cpu.kernels import integers_beat_bf16
from vsr_plugin.acceleration.cpu.kernels import missing_kernels as missing_on_cpu
from vsr_plugin.acceleration.cpu.kernels import obstacle as obstacle_on_cpu
from vsr_plugin.acceleration.cpu.kernels import training_obstacle as training_obstacle_on_cpu
from vsr_plugin.acceleration.cpu.kernels import vector_lanes as lanes_on_cpu
from vsr_plugin.acceleration.cpu.training import CPUTraining
from vsr_plugin.acceleration.cuda import components as cuda
from vsr_plugin.acceleration.cuda.kernels import CHANNELS, obstacle
from vsr_plugin.acceleration.fused_conv import describe_onednn
from vsr_plugin.acceleration.precision import INTEGERS, PRECISIONS, feature_dtype
from vsr_plugin.errors import VSRError
from vsr_plugin.models.vsr_net import VSRNet


def check_network(net: nn.Module) -> None:
    """Refuse what cannot be accelerated, as it has to be for restoring.

    Raises:
        VSRError: it is none of the networks that restore sequences, or has been accelerated.
    """
    if not isinstance(net, VSRNet):
        raise VSRError(
            f"{type(net).__name__} cannot be accelerated, and restores no sequences; give a network that does, such as "
            "a BasicVSRNet"
        )
    if isinstance(net, cpu.CPUComponents | generic.GenericComponents):
        raise VSRError(f"{type(net).__name__} has been accelerated; give the network that it was made from")


@torch.no_grad()
def accelerate(net: nn.Module, *, precision: str = "fp32") -> nn.Module:
    """Copy a network for evaluation, with its parts replaced by faster ones.

    The copy offers the same steps and attributes, is an instance of the same class and lies on the same device. It
    cannot be trained, and its ``state_dict`` is not that of the network. Use it under ``torch.no_grad()``, or at
    least with inputs that need no gradient.

    Args:
        net: a ``VSRNet``, such as ``BasicVSRNet``; stays as it is.
        precision: of features, ``'fp32'``, ``'bf16'`` or ``'fp16'``; or ``'int16'``, on CPUs, for float32 but products
            of 16-bit whole numbers in large convolutions of branches and upsampling. Flow, sampling positions and
            output are float32 in all of them. Recurrent states are in the precision of the features. On GPUs, unless
            ``torch.backends.cudnn.allow_tf32`` is off, convolutions in float32 multiply numbers of 11 significant
            bits: TF32, or in the flow network beside ``'bf16'`` and ``'fp16'`` float16.

    Returns:
        A network in evaluation mode.

    Raises:
        VSRError: it is another kind of network, an accelerated one, or has weights that are not finite, there is no
            such precision, or the device has no arithmetic for it.

    Example:
        >>> from vsr_plugin.models import BasicVSRNet
        >>> net = accelerate(BasicVSRNet(mid_channels=8, num_blocks=1))
        >>> net(torch.rand(1, 2, 3, 16, 24)).shape
        torch.Size([1, 2, 3, 64, 96])
    """
    check_network(net)
    device = next(net.parameters()).device
    dtype = feature_dtype(precision, device)
    for name, weight in net.named_parameters():
        # Fused kernels may make 0 of NaN, and then the frames are finite and wrong.
        if not torch.isfinite(weight).all():
            raise VSRError(
                f"the weight {name} holds numbers that are not finite: the training that it is from has failed; "
                "take an earlier checkpoint"
            )
    fast = copy.deepcopy(net).requires_grad_(False).eval()
    if device.type == "cpu" and cpu.worthwhile(dtype):
        return cpu.convert(fast, dtype, integers=precision == INTEGERS)
    if device.type == "cuda":
        return cuda.convert(fast, dtype)
    return generic.convert(fast, dtype)


def accelerate_training(net: nn.Module) -> nn.Module:
    """What trains a network's parameters faster: another network that shares them, for one forward and backward pass.

    Losses and gradients equal those of the network within rounding, whatever ``with_cp`` and ``requires_grad`` are.

    Args:
        net: the network; stays as it is.

    Returns:
        A network of the same class with the same attributes, or ``net`` itself where there is nothing faster: on GPUs,
        under autocast, in float64, and where kernels of our own do not work.

    Example:
        >>> from vsr_plugin.models import BasicVSRNet
        >>> net = BasicVSRNet(mid_channels=8, num_blocks=1)
        >>> accelerate_training(net)(torch.rand(1, 2, 3, 16, 24)).sum().backward()
        >>> net.conv_last.bias.grad.shape
        torch.Size([3])
    """
    return net if _untrainable(net) else CPUTraining.of(net)


def training_path(net: nn.Module) -> str:
    """What has computed the convolutions of a network's first training step, and why nothing faster did."""
    reason = _untrainable(net)
    if reason is None and not training_obstacle_on_cpu.cache_info().currsize:
        reason = "layers or images are too small for kernels of our own"
    if reason := reason or training_obstacle_on_cpu():
        return f"PyTorch's operators ({reason})"
    return f"kernels of our own, vectors of {lanes_on_cpu()} floats; small layers by PyTorch's operators"


def _untrainable(net: nn.Module) -> str | None:
    """Why no convolution of a network is trained by kernels of our own just now; nothing is compiled to find out."""
    if not isinstance(net, VSRNet):
        return f"there are no kernels of our own for {type(net).__name__}"
    weight = next(net.parameters())
    if weight.device.type != "cpu":
        return "kernels of our own train on CPUs"
    if weight.dtype != torch.float32 or _autocast_on_cpu():
        return "kernels of our own train in float32"
    return None if lanes_on_cpu() else obstacle_on_cpu()


def _autocast_on_cpu() -> bool:
    try:
        return torch.is_autocast_enabled("cpu")
    except TypeError:  # before PyTorch 2.4
        return torch.is_autocast_cpu_enabled()


def cpu_paths() -> dict[str, str]:
    """By precision of the features, what computes convolutions on this CPU, and why nothing faster does.

    Kernels are compiled, if no earlier process has, and tried for it.
    """
    paths = {}
    for precision, dtype in PRECISIONS.items():
        try:
            feature_dtype(precision, torch.device("cpu"))
        except VSRError as error:
            paths[precision] = f"refused ({error})"
            continue
        paths[precision] = describe_onednn(dtype)
        if dtype == torch.float32 and cpu.worthwhile(dtype):
            reason, lanes = obstacle_on_cpu(), lanes_on_cpu()
            products = " and products of 16-bit whole numbers" if precision == INTEGERS else ""
            paths[precision] = (
                f"{paths[precision]}; kernels of our own are not used ({reason})"
                if reason
                else f"kernels of our own, vectors of {lanes} floats{products}; small images by {paths[precision]}"
            )
    return paths


def missing_kernels(net: nn.Module, precision: str) -> str | None:
    """Why a network is slower than it could be: kernels of our own are not used. ``None`` where they are.

    What cannot be mended, such as a processor that they are not written for, is not told of. On CPUs nothing is
    compiled to find out.

    Args:
        net: the network, on its device.
        precision: of features.
    """
    device = next(net.parameters()).device
    reason = None
    if device.type == "cpu" and cpu.worthwhile(torch.float32):
        reason = missing_on_cpu()
        if precision == "bf16" and not reason and integers_beat_bf16():
            return "on this processor int16 is faster than bf16 and closer to fp32; auto finds out which is fastest"
    elif device.type == "cuda" and precision != "fp32" and net.mid_channels == CHANNELS:
        reason = obstacle(device, feature_dtype(precision, device))
    return f"kernels that make this faster are not used: {reason}" if reason else None


def accelerate_with_fallback(net: nn.Module, precision: str) -> tuple[nn.Module, Callable[[], nn.Module] | None]:
    """Accelerate a network, and give the way to its float32 version, which is made only if it is needed.

    Returns:
        The accelerated network, and what ``restore_sequence`` takes as ``precise_net``: ``None`` for ``'fp32'``.

    Raises:
        VSRError: see :func:`accelerate`.
    """
    fast = accelerate(net, precision=precision)
    return fast, None if precision == "fp32" else functools.cache(functools.partial(accelerate, net))
