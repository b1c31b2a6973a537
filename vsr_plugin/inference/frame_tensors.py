"""Frames as a caller has them, and as a network takes them."""

import numpy as np
import torch
from torch import Tensor

Frame = np.ndarray | Tensor


def frame_to_tensor(frame: Frame, device: torch.device) -> Tensor:
    """Bring a frame to a float32 tensor ``(3, h, w)`` in [0, 1] on ``device``.

    Raises:
        ValueError: the frame is neither an RGB array ``(h, w, 3)`` of ``uint8`` or ``uint16`` nor a floating-point
            tensor ``(3, h, w)``.
    """
    if isinstance(frame, Tensor):
        if frame.dim() != 3 or frame.size(0) != 3 or not frame.is_floating_point():
            raise ValueError(
                f"frames that are tensors must be floating point (3, h, w) in [0, 1], got {frame.dtype} "
                f"{tuple(frame.shape)}"
            )
        return frame.to(device, torch.float32)
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"frames that are arrays must be uint8 or uint16 RGB (h, w, 3), got {frame.dtype} {frame.shape}"
        )
    if frame.dtype == np.uint8:
        hwc = torch.from_numpy(np.array(frame)).to(device).float()  # decoded frames may be read-only
    else:  # PyTorch before 2.3 does not know uint16
        hwc = torch.from_numpy(frame.astype(np.float32)).to(device)
    return hwc.permute(2, 0, 1).contiguous() / float(np.iinfo(frame.dtype).max)


def frame_to_rgb(frame: Frame) -> np.ndarray:
    """An array as it is, a tensor ``(3, h, w)`` in [0, 1] as an array ``(h, w, 3)`` of ``uint8``."""
    if isinstance(frame, Tensor):
        return tensor_to_frame(frame, np.empty(0, np.uint8))
    return frame


def tensor_to_frame(hr: Tensor, like: Frame) -> Frame:
    """Clip an HR tensor ``(3, H, W)`` to [0, 1] and bring it to the kind, dtype and device of ``like``."""
    hr = hr.clamp(0, 1)
    if isinstance(like, Tensor):
        return hr.to(like)
    values = (hr * float(np.iinfo(like.dtype).max)).round().permute(1, 2, 0)
    if like.dtype == np.uint8:
        return values.to(torch.uint8).contiguous().cpu().numpy()
    return values.cpu().numpy().astype(np.uint16)


def check_same_kind(frame: Frame, first: Frame) -> None:
    """Raise ``ValueError`` unless a frame has the kind, dtype and size of the first."""
    if type(frame) is not type(first) or frame.shape != first.shape or frame.dtype != first.dtype:
        raise ValueError(
            f"frames must be of one kind and size: the first is {first.dtype} {tuple(first.shape)}, "
            f"a later one {frame.dtype} {tuple(frame.shape)}"
        )
