"""Warping of channels-last features: whole pixels are gathered, not single values."""

import torch
from torch import Tensor

from vsr_plugin.acceleration.cpu.gather import bilinear_taps, weighted_rows


def gather_warp(x: Tensor, flow: Tensor) -> Tensor:
    """:func:`vsr_plugin.ops.flow_warp` with zeros outside, for features in channels-last layout.

    ``grid_sample`` on CPUs goes plane by plane; here all channels of a pixel are read at once.

    Args:
        x: features ``(n, c, h, w)``.
        flow: displacement in pixels ``(n, 2, h, w)``, channel 0 horizontal.

    Returns:
        ``(n, c, h, w)`` in the dtype of ``x``, channels last.
    """
    n, c, h, w = x.shape
    # Positions and weights in float32 whatever the features' precision: bf16 has 8 bits, too few for a position.
    flow = flow.float()
    x_pos = flow[:, 0] + torch.arange(w, dtype=torch.float32)
    y_pos = flow[:, 1] + torch.arange(h, dtype=torch.float32)[:, None]
    image = torch.arange(n, dtype=torch.int32).view(n, 1, 1) * (h * w)
    index, weight = bilinear_taps(x_pos, y_pos, h, w, first_row=image)
    pixels = x.permute(0, 2, 3, 1).reshape(n * h * w, c).float()
    return weighted_rows(pixels, index, weight).to(x.dtype).view(n, h, w, c).permute(0, 3, 1, 2)
