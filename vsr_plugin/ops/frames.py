"""Frames as a caller has them, and as a network takes them."""

import numpy as np
import torch
from torch import Tensor

Frame = np.ndarray | Tensor

#: Resized frames leave [0, 1] by a tenth or two; frames in [0, 255] by more than this.
_FARTHEST = 4


def frame_to_tensor(frame: Frame, device: torch.device) -> Tensor:
    """Bring a frame to a float32 tensor ``(3, h, w)`` in [0, 1] on ``device``.

    Raises:
        ValueError: the frame is neither an RGB array ``(h, w, 3)`` of ``uint8`` or ``uint16`` nor a floating-point
            tensor ``(3, h, w)`` in about [0, 1], or it has no pixels.
    """
    if not isinstance(frame, Tensor | np.ndarray):
        raise ValueError(f"frames must be arrays or tensors, got {type(frame).__name__}; open_source reads files")
    if 0 in frame.shape:
        raise ValueError(f"frames must have pixels, got {tuple(frame.shape)}")
    if isinstance(frame, Tensor):
        if frame.dim() != 3 or frame.size(0) != 3 or not frame.is_floating_point():
            raise ValueError(
                f"frames that are tensors must be floating point (3, h, w) in [0, 1], got {frame.dtype} "
                f"{tuple(frame.shape)}"
            )
        # On a GPU looking would make the host wait for it, with every frame.
        if frame.device.type == "cpu" and frame.abs().amax() > _FARTHEST:
            raise ValueError(
                f"frames that are tensors must be in [0, 1], got {frame.min():g} to {frame.max():g}; divide them by 255"
            )
        return frame.to(device, torch.float32)
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"frames that are arrays must be uint8 or uint16 RGB (h, w, 3), got {frame.dtype} {frame.shape}"
        )
    # A copy in any case, since decoded frames may be read-only; PyTorch before 2.3 does not know uint16.
    hwc = torch.from_numpy(frame.astype(np.uint8 if frame.dtype == np.uint8 else np.float32))
    if device.type == "cuda":
        # From pinned memory the copy is queued behind what the GPU is busy with; from other memory it waits for that.
        hwc = hwc.pin_memory().to(device, non_blocking=True)
    return hwc.float().permute(2, 0, 1).contiguous() / float(np.iinfo(frame.dtype).max)


def frame_to_rgb(frame: Frame) -> np.ndarray:
    """An array as it is, a tensor ``(3, h, w)`` in [0, 1] as an array ``(h, w, 3)`` of ``uint8``."""
    if isinstance(frame, Tensor):
        return tensor_to_frame(frame, np.empty(0, np.uint8))
    return frame


def to_values(hr: Tensor, like: Frame) -> Tensor:
    """Clip an HR tensor ``(3, H, W)`` and bring it, on its device, to the layout and range of ``like``.

    Returns:
        Of a tensor ``(3, H, W)`` in its dtype; of an array ``(H, W, 3)``: ``uint8``, or ``float32`` that is rounded
        and in the range of ``uint16``, which PyTorch before 2.3 does not have.
    """
    hr = hr.clamp(0, 1)
    if isinstance(like, Tensor):
        return hr.to(like)
    values = (hr * float(np.iinfo(like.dtype).max)).round().permute(1, 2, 0)
    return (values.to(torch.uint8) if like.dtype == np.uint8 else values).contiguous()


def from_values(values: Tensor, like: Frame) -> Frame:
    """The frame of what :func:`to_values` has made, on the host if ``like`` is an array."""
    return values if isinstance(like, Tensor) else values.cpu().numpy().astype(like.dtype, copy=False)


def tensor_to_frame(hr: Tensor, like: Frame) -> Frame:
    """Clip an HR tensor ``(3, H, W)`` to [0, 1] and bring it to the kind, dtype and device of ``like``."""
    return from_values(to_values(hr, like), like)


def check_same_kind(frame: Frame, first: Frame) -> None:
    """Raise ``ValueError`` unless a frame has the kind, dtype and size of the first."""
    if type(frame) is not type(first) or frame.shape != first.shape or frame.dtype != first.dtype:
        raise ValueError(
            f"frames must be of one kind and size: the first is {first.dtype} {tuple(first.shape)}, "
            f"a later one {frame.dtype} {tuple(frame.shape)}"
        )


def to_uint8(rgb: np.ndarray) -> np.ndarray:
    """Bring ``uint16`` frames to ``uint8``; others pass."""
    return ((rgb.astype(np.uint32) + 128) // 257).astype(np.uint8) if rgb.dtype == np.uint16 else rgb
