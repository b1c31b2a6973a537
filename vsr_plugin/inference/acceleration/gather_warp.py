"""Warping of channels-last features: whole pixels are gathered, not single values."""

import torch
import torch.nn.functional as F
from torch import Tensor


def gather_warp(x: Tensor, flow: Tensor) -> Tensor:
    """:func:`vsr_plugin.models.alignment.flow_warp` with zeros outside, for features in channels-last layout.

    ``grid_sample`` on CPUs goes plane by plane. Here an output pixel is the weighted sum of four rows of a table
    of pixels, which is what ``embedding_bag`` computes, with contiguous reads of all channels.

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
    # A position that is not finite would index outside the table; beyond the image all positions are alike.
    x_pos = x_pos.nan_to_num_(nan=-2.0).clamp_(-2, w + 1)
    y_pos = y_pos.nan_to_num_(nan=-2.0).clamp_(-2, h + 1)
    left, top = x_pos.floor(), y_pos.floor()
    right_share, bottom_share = x_pos - left, y_pos - top
    columns, rows = torch.stack((left, left + 1), dim=-1), torch.stack((top, top + 1), dim=-1)
    # Neighbours outside the image keep their place in the sum with weight zero.
    column_weights = torch.stack((1 - right_share, right_share), dim=-1) * ((columns >= 0) & (columns < w))
    row_weights = torch.stack((1 - bottom_share, bottom_share), dim=-1) * ((rows >= 0) & (rows < h))
    columns, rows = columns.clamp_(0, w - 1).to(torch.int32), rows.clamp_(0, h - 1).to(torch.int32)
    rows += torch.arange(n, dtype=torch.int32).view(n, 1, 1, 1) * h
    index = (rows * w).unsqueeze(-1) + columns.unsqueeze(-2)
    weight = row_weights.unsqueeze(-1) * column_weights.unsqueeze(-2)

    pixels = x.permute(0, 2, 3, 1).reshape(n * h * w, c).float()
    warped = F.embedding_bag(index.view(-1, 4), pixels, mode="sum", per_sample_weights=weight.view(-1, 4))
    return warped.to(x.dtype).view(n, h, w, c).permute(0, 3, 1, 2)
