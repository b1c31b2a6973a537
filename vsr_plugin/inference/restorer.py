"""Restore any iterable of frames with a network, holding a bounded window of them in memory."""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

#: Frames beyond each end of a window that are computed and discarded; their cost in dB is in the README.
OVERLAP = 10
#: Memory for what grows with the frames of a window, unless the caller chooses a window.
_WINDOW_BYTES = 2 * 2**30
_MIN_WINDOW, _MAX_WINDOW = 10, 200


def default_window(net: nn.Module, height: int, width: int) -> int:
    """Frames of ``height`` x ``width`` LR pixels whose features fit into about 2 GiB, between 10 and 200."""
    # Per pixel and frame: the backward features, the flows in both directions and the frame itself, in float32.
    bytes_per_frame = 4 * (net.mid_channels + 4 + 3) * height * width
    return min(max(_WINDOW_BYTES // bytes_per_frame - 2 * OVERLAP, _MIN_WINDOW), _MAX_WINDOW)


def frame_to_tensor(frame: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """Bring a frame to a float32 tensor ``(3, h, w)`` in [0, 1].

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
    chw = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)).astype(np.float32))
    return chw.to(device) / np.iinfo(frame.dtype).max


def tensor_to_frame(hr: Tensor, like: np.ndarray | Tensor) -> np.ndarray | Tensor:
    """Clip an HR tensor ``(3, H, W)`` to [0, 1] and bring it to the kind, dtype and device of ``like``."""
    hr = hr.clamp(0, 1)
    if isinstance(like, Tensor):
        return hr.to(like)
    values = (hr.cpu() * np.iinfo(like.dtype).max).round().permute(1, 2, 0)
    return np.ascontiguousarray(values.numpy().astype(like.dtype))


def _checked(frame: np.ndarray | Tensor, first: np.ndarray | Tensor, device: torch.device) -> Tensor:
    if type(frame) is not type(first) or frame.shape != first.shape or frame.dtype != first.dtype:
        raise ValueError(
            f"frames must be of one kind and size: the first is {first.dtype} {tuple(first.shape)}, "
            f"a later one {frame.dtype} {tuple(frame.shape)}"
        )
    return frame_to_tensor(frame, device)


def _report(progress: Callable[[float], None], counted: range, i: int) -> None:
    if i in counted:
        progress(0.5)


def _without_gradients(steps: Iterator[Tensor]) -> Iterator[Tensor]:
    # The mode is entered for each step alone: around a `yield` it would leak into the caller's code.
    while True:
        with torch.no_grad():
            hr = next(steps, None)
        if hr is None:
            return
        yield hr


def restore_frames(
    net: nn.Module,
    frames: Iterable[np.ndarray | Tensor],
    *,
    window: int | None = None,
    overlap: int = OVERLAP,
    progress: Callable[[float], None] | None = None,
) -> Iterator[np.ndarray | Tensor]:
    """Restore frames x4, one by one, in order.

    Up to ``window + 2 * overlap`` frames are in memory at a time. A sequence that fits is restored as one, as in the
    paper; a longer one in windows that overlap, of which only the inner frames are kept, which is an
    approximation at their ends.

    Args:
        net: ``BasicVSRNet`` or ``IconVSRNet`` in evaluation mode, on the device that is to compute.
        frames: RGB arrays ``(h, w, 3)`` of ``uint8`` or ``uint16``, or floating-point tensors ``(3, h, w)`` in
            [0, 1]; all of one size.
        window: frames kept of each window; by default as many as fit into about 2 GiB, see :func:`default_window`.
        overlap: frames computed and discarded beyond each end.
        progress: called during the work with the number of frames done since the last call, in halves: a frame
            counts once for the way backward in time and once for the way forward.

    Yields:
        Frames of the same kind and dtype, ``4h`` by ``4w``, clipped to the range of the kind.

    Raises:
        ValueError: a frame is of another kind or size, or ``window`` < 1 or ``overlap`` < 0.

    Example:
        >>> from vsr_plugin.models import BasicVSRNet
        >>> net = BasicVSRNet(mid_channels=8, num_blocks=1).eval()
        >>> clip = [np.zeros((16, 24, 3), np.uint8)] * 3
        >>> [hr.shape for hr in restore_frames(net, clip)]
        [(64, 96, 3), (64, 96, 3), (64, 96, 3)]
    """
    if (window is not None and window < 1) or overlap < 0:
        raise ValueError(f"`window` must be at least 1 and `overlap` at least 0, got {window} and {overlap}")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return
    device = next(net.parameters()).device
    height, width = frame_to_tensor(first, device).shape[1:]
    if window is None:
        window = default_window(net, height, width)

    capacity = window + 2 * overlap
    incoming = chain([first], frames)
    held: deque[np.ndarray | Tensor] = deque()
    start = 0  # position in `held` of the first frame not handed out yet
    while True:
        held.extend(islice(incoming, capacity - len(held)))
        following = next(incoming, None)
        stop = len(held) if following is None else capacity - overlap
        lrs = torch.stack([_checked(frame, first, device) for frame in held])[None]
        # The frames beyond `stop` have served the backward branch; going forward through them would be wasted.
        on_step = None if progress is None else functools.partial(_report, progress, range(start, stop))
        for i, hr in enumerate(islice(_without_gradients(net.restore_iter(lrs, on_step)), stop)):
            if i >= start:
                yield tensor_to_frame(hr[0], held[i])
        if following is None:
            return
        for _ in range(stop - overlap):
            held.popleft()
        held.append(following)
        start = overlap
