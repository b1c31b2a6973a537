"""Frames as a caller has them, and as a network takes them; and results on their way from a GPU to the caller."""

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from vsr_plugin.ops.resize import bicubic_resize, frame_sides

Frame = np.ndarray | Tensor

#: Resized frames leave [0, 1] by a tenth or two; frames in [0, 255] by more than this.
_FARTHEST = 4

#: Rows that a CPU converts at once.
_STRIP = 32


def check_frame(frame: Frame) -> None:
    """Refuse what is no frame.

    Raises:
        ValueError: it is neither an RGB array ``(h, w, 3)`` of ``uint8`` or ``uint16`` nor a floating-point tensor
            ``(3, h, w)`` in about [0, 1], or it has no pixels.
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
    elif frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"frames that are arrays must be uint8 or uint16 RGB (h, w, 3), got {frame.dtype} {frame.shape}"
        )


def frame_to_tensor(frame: Frame, device: torch.device) -> Tensor:
    """Bring a frame to a float32 tensor ``(3, h, w)`` in [0, 1] on ``device``.

    Raises:
        ValueError: see :func:`check_frame`.
    """
    check_frame(frame)
    if isinstance(frame, Tensor):
        return frame.to(device, torch.float32)
    top = float(np.iinfo(frame.dtype).max)
    if device.type == "cpu":
        planes = np.empty((3, *frame.shape[:2]), np.float32)
        for plane, channel in zip(planes, np.moveaxis(frame, -1, 0), strict=True):
            np.divide(channel, top, out=plane, dtype=np.float32)
        return torch.from_numpy(planes)
    # A copy in any case, since decoded frames may be read-only; PyTorch before 2.3 does not know uint16.
    hwc = torch.from_numpy(frame.astype(np.uint8 if frame.dtype == np.uint8 else np.float32))
    if device.type == "cuda":
        # From pinned memory the copy is queued behind what the GPU is busy with; from other memory it waits for that.
        hwc = hwc.pin_memory().to(device, non_blocking=True)
    return hwc.float().permute(2, 0, 1).contiguous() / top


def frame_to_rgb(frame: Frame) -> np.ndarray:
    """An array as it is, a tensor ``(3, h, w)`` in [0, 1] as an array ``(h, w, 3)`` of ``uint8``."""
    if isinstance(frame, Tensor):
        return tensor_to_frame(frame, np.empty(0, np.uint8))
    return frame


def to_array(frame: Tensor) -> np.ndarray:
    """A tensor ``(c, h, w)`` on any device as an array ``(h, w, c)`` of the same type."""
    return np.ascontiguousarray(frame.permute(1, 2, 0).cpu().numpy())


def to_values(hr: Tensor, like: Frame) -> Tensor:
    """Clip an HR tensor ``(3, H, W)`` and bring it, on its device, to the layout and range of ``like``.

    Returns:
        Of a tensor ``(3, H, W)`` in its dtype; of an array ``(H, W, 3)``: ``uint8``, or ``float32`` that is rounded
        and in the range of ``uint16``, which PyTorch before 2.3 does not have.
    """
    if isinstance(like, Tensor):
        return hr.clamp(0, 1).to(like)
    top = float(np.iinfo(like.dtype).max)
    if hr.device.type == "cpu" and hr.dtype == torch.float32:
        return _to_values_on_cpu(hr.detach().numpy(), top, np.uint8 if like.dtype == np.uint8 else np.float32)
    values = (hr.clamp(0, 1) * top).round().permute(1, 2, 0)
    return (values.to(torch.uint8) if like.dtype == np.uint8 else values).contiguous()


def _to_values_on_cpu(hr: np.ndarray, top: float, dtype: type) -> Tensor:
    """The same in a tenth of the processor's time: in one thread, by strips that stay in its cache.

    PyTorch's threads wait for each other after every step, and every step writes memory that was never touched.
    """
    _, h, w = hr.shape
    values = np.empty((h, w, 3), dtype)
    buffer = np.empty((3, min(h, _STRIP), w), np.float32)
    with np.errstate(invalid="ignore"):  # NaN becomes something
        for y in range(0, h, _STRIP):
            strip = np.clip(hr[:, y : y + _STRIP], 0, 1, out=buffer[:, : h - y])
            strip *= np.float32(top)
            np.rint(strip, out=strip)
            for c in range(3):
                values[y : y + _STRIP, :, c] = strip[c]
    return torch.from_numpy(values)


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


def shrunk_sides(height: int, width: int, factor: float) -> tuple[int, int]:
    """Rows and columns of a frame that is reduced by a factor: the nearest whole ones, but at least 1."""
    return max(1, round(height / factor)), max(1, round(width / factor))


def shrink_frame(frame: Frame, factor: float) -> Frame:
    """Reduce a frame bicubically and antialiased, to the nearest pixels but at least one, in its kind and dtype.

    Args:
        frame: see :func:`check_frame`.
        factor: old sides over new ones, at least 1.
    """
    sides = frame_sides(frame)
    size = shrunk_sides(*sides, factor)
    if size == sides:
        return frame
    return bicubic_resize(frame, size).clamp(0, 1) if isinstance(frame, Tensor) else bicubic_resize(frame, size)


def to_uint8(rgb: np.ndarray) -> np.ndarray:
    """Bring ``uint16`` frames to ``uint8``; others pass."""
    return ((rgb.astype(np.uint32) + 128) // 257).astype(np.uint8) if rgb.dtype == np.uint16 else rgb


class Download:
    """A tensor on its way to the host.

    Where it is on a GPU, the copy is queued behind what computes the tensor, into pinned memory, and the constructor
    does not wait; elsewhere there is nothing to do.

    Args:
        tensor: must not be written to before :meth:`result`.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._arrived = tensor, None
        if tensor.is_cuda:
            self._tensor = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._tensor.copy_(tensor, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(tensor.device))

    def result(self) -> Tensor:
        """The tensor on the host; waits for the copy, in any thread, and in that thread alone."""
        if self._arrived is None:
            return self._tensor
        self._arrived.synchronize()
        return self._tensor.clone()  # pinned memory is scarce and goes back at once


class FrameDownload:
    """A restored frame on its way to the kind, dtype and device of the caller's frames.

    Args:
        hr: ``(3, H, W)``, clipped here to [0, 1].
        like: a frame of the caller. If it is a tensor, the result stays or goes where that is.
    """

    def __init__(self, hr: Tensor, like: Frame) -> None:
        self._like = like
        self._values = to_values(hr, like) if isinstance(like, Tensor) else Download(to_values(hr, like))

    def frame(self) -> Frame:
        """The frame; waits for it, in any thread."""
        values = self._values
        return from_values(values.result() if isinstance(values, Download) else values, self._like)


def downloaded(restored: Iterable[Tensor], like: Frame) -> Iterator[Frame]:
    """Frames of the caller's kind, each handed out when the next one is queued on the GPU; on CPUs at once.

    Args:
        restored: HR tensors ``(3, H, W)``.
        like: see :class:`FrameDownload`.
    """
    waiting: deque[FrameDownload] = deque()
    for hr in restored:
        waiting.append(FrameDownload(hr, like))
        if len(waiting) > hr.is_cuda:
            yield waiting.popleft().frame()
    while waiting:
        yield waiting.popleft().frame()
