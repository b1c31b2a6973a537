"""Padding of images to multiples of a size; in time, see :mod:`vsr_plugin.ops.indices`."""

import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.ops.indices import mirrored_indices


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
    images = images[..., mirrored_indices(h, multiple), :]
    return images[..., mirrored_indices(w, multiple)]
