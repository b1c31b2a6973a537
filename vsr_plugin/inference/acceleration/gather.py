"""Bilinear samples as weighted sums of four rows of a table, which ``embedding_bag`` computes fast on CPUs."""

import torch
import torch.nn.functional as F
from torch import Tensor


def bilinear_taps(x_pos: Tensor, y_pos: Tensor, h: int, w: int) -> tuple[Tensor, Tensor]:
    """The four pixels around each position, and their shares; outside the image lies zero.

    Args:
        x_pos, y_pos: float32 positions in pixels, of one shape.
        h, w: size of the image.

    Returns:
        ``(index, weight)``, each of that shape with an axis of 4 appended: index of the pixel in row-major order,
        int32, always inside, and its share, 0 for a neighbour outside.
    """

    def along_one_side(position: Tensor, length: int) -> tuple[Tensor, Tensor]:
        # A position that is not finite would index outside the table; far beyond the image all are alike.
        position = position.clamp(-2, length + 1).nan_to_num_(nan=-2.0)
        first = position.floor()
        share = position.sub_(first)
        both = torch.stack((first, first + 1), dim=-1)
        shares = torch.stack((1 - share, share), dim=-1)
        inside = both.clamp(0, length - 1)
        # Neighbours outside the image keep their place in the sum, with weight zero.
        return inside.to(torch.int32), shares.mul_(inside == both)

    columns, column_shares = along_one_side(x_pos, w)
    rows, row_shares = along_one_side(y_pos, h)
    index = rows.mul_(w).unsqueeze(-1) + columns.unsqueeze(-2)
    weight = row_shares.unsqueeze(-1) * column_shares.unsqueeze(-2)
    return index.flatten(-2), weight.flatten(-2)


def weighted_rows(table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Sum ``weight * table[index]`` over the last axis: ``(..., 4)`` and a float32 table ``(m, c)`` to ``(k, c)``."""
    return F.embedding_bag(index.view(-1, 4), table, mode="sum", per_sample_weights=weight.view(-1, 4))
