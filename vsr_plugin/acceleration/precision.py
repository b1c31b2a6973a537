"""Which precisions features can be computed in, and on which devices that is of use."""

import torch

from vsr_plugin import defaults
from vsr_plugin.acceleration.cpu.kernels import integer_obstacle
from vsr_plugin.acceleration.fused_conv import onednn_fuses
from vsr_plugin.errors import VSRError

#: Precision of the features; flow, sampling coordinates and output are float32 in all of them.
PRECISIONS = {name: getattr(torch, dtype) for name, dtype in defaults.PRECISIONS.items()}
#: The precision in which features are float32, and convolutions multiply whole numbers of 16 bits.
INTEGERS = "int16"


def _cpu_computes(dtype: torch.dtype) -> bool:
    """Whether oneDNN has kernels for ``dtype`` on this processor, rather than converting to float32 and back."""
    if not torch.backends.mkldnn.is_available():
        return False
    name = "_is_mkldnn_bf16_supported" if dtype == torch.bfloat16 else "_is_mkldnn_fp16_supported"
    supported = getattr(torch.ops.mkldnn, name, None)
    return supported is not None and supported()


def _cuda_computes(dtype: torch.dtype, device: torch.device) -> bool:
    # Tensor cores take float16 from compute capability 7.0 on, bfloat16 from 8.0.
    needed = (8, 0) if dtype == torch.bfloat16 else (7, 0)
    return torch.cuda.get_device_capability(device) >= needed


def _check_integers(device: torch.device) -> None:
    if device.type != "cpu":
        raise VSRError(f"precision {INTEGERS!r} is for CPUs; use fp16 or fp32")
    reason = integer_obstacle()
    if not reason and not onednn_fuses(torch.float32):
        reason = "this PyTorch lacks the oneDNN operators that a fast network rests on"
    if reason:
        raise VSRError(f"this CPU has no arithmetic for precision {INTEGERS!r}: {reason}; use fp32")


def feature_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of features for a precision's name.

    Args:
        precision: ``'fp32'``, ``'int16'``, ``'bf16'`` or ``'fp16'``.
        device: where the network is.

    Raises:
        VSRError: there is no such precision, or the device has no arithmetic for it.
    """
    if precision not in PRECISIONS:
        raise VSRError(f"precision {precision!r} does not exist; choose one of {', '.join(PRECISIONS)}")
    dtype = PRECISIONS[precision]
    if precision == INTEGERS:
        _check_integers(device)
    if dtype == torch.float32:
        return dtype
    if device.type == "cpu" and not _cpu_computes(dtype):
        others = [name for name, d in PRECISIONS.items() if d not in (torch.float32, dtype) and _cpu_computes(d)]
        raise VSRError(f"this CPU has no arithmetic for precision {precision!r}; use {' or '.join(['fp32', *others])}")
    if device.type == "cuda" and not _cuda_computes(dtype, device):
        raise VSRError(f"{torch.cuda.get_device_name(device)} has no arithmetic for precision {precision!r}; use fp32")
    return dtype
