"""Padding in space and in time, one helper each."""

import torch
import torch.nn.functional as F
from torch import Tensor


def _mirrored_indices(length: int, extra: int, device: torch.device) -> Tensor:
    """Indices that continue ``range(length)`` by ``extra`` reflected positions, the last one repeated after that."""
    index = torch.arange(length + extra, device=device)
    reflected = 2 * (length - 1) - index
    return torch.where(index < length, index, reflected.clamp(min=0))


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Extend images at the bottom and at the right until both sides are multiples of ``multiple``.

    The border is reflected without repeating the edge, as ``F.pad(mode='reflect')`` does and the published
    networks expect; where an image is too small for that, what is left is filled with its first line.

    Args:
        images: ``(..., h, w)`` with any number of leading dimensions.
        multiple: positive integer.

    Returns:
        ``(..., H, W)`` with ``h <= H < h + multiple`` and the same for ``W``; ``images`` itself when nothing
        is missing.
    """
    h, w = images.shape[-2:]
    extra_h, extra_w = -h % multiple, -w % multiple
    if extra_h == 0 and extra_w == 0:
        return images
    if extra_h < h and extra_w < w:
        flat = images.reshape(-1, 1, h, w)
        padded = F.pad(flat, (0, extra_w, 0, extra_h), mode="reflect")
        return padded.reshape(*images.shape[:-2], h + extra_h, w + extra_w)
    return mirror_to_multiple(images, multiple)


def mirror_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """The same as :func:`pad_to_multiple` for every size by one formula, slower; for export, where sizes are open."""
    h, w = images.shape[-2:]
    images = images.index_select(-2, _mirrored_indices(h, -h % multiple, images.device))
    return images.index_select(-1, _mirrored_indices(w, -w % multiple, images.device))


def neighbourhood_indices(i: int, t: int, padding: int) -> list[int]:
    """Frames that a window of ``2 * padding + 1`` frames around frame ``i`` of a ``t``-frame sequence reads.

    A position ``k`` frames beyond an end is replaced by the frame ``k + padding`` inside that end, so that the
    windows of the first and of the last frame see no frame twice; for ``padding`` 2 and 3 this is what the published
    IconVSR does (before frame 0: frames 4, 3, and 6, 5, 4). In sequences too short for that the position is
    reflected, as often as needed.

    Args:
        i: centre frame, ``0 <= i < t``.
        t: number of frames, at least 1.
        padding: frames on each side, at least 0.

    Returns:
        ``2 * padding + 1`` indices in ``range(t)``, centre in the middle.

    Example:
        >>> neighbourhood_indices(0, 10, 2)
        [4, 3, 0, 1, 2]
        >>> neighbourhood_indices(0, 2, 2)
        [0, 1, 0, 1, 0]
    """

    def inside(j: int) -> int:
        beyond = -j if j < 0 else j - (t - 1)
        if beyond <= 0:
            return j
        if beyond + padding <= t - 1:
            return beyond + padding if j < 0 else t - 1 - beyond - padding
        period = max(2 * (t - 1), 1)
        j = j % period
        return min(j, period - j) if t > 1 else 0

    return [inside(j) for j in range(i - padding, i + padding + 1)]
