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

    left, right, left_share, right_share = _along_one_side(x_pos, w)
    top, bottom, top_share, bottom_share = _along_one_side(y_pos, h)
    top, bottom = top.mul_(w), bottom.mul_(w)
    # Stacked at the end: operators on tensors whose last axis is 2 or 4 long are ten times slower per element.
    index = torch.stack((top + left, top + right, bottom + left, bottom + right), dim=-1)
    shares = (top_share * left_share, top_share * right_share, bottom_share * left_share, bottom_share * right_share)
    return index, torch.stack(shares, dim=-1)


def _along_one_side(position: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Indices of the two neighbours along an axis, clamped to it, and their shares."""
    # A position that is not finite would index outside the table; far beyond the image all are alike.
    position = position.clamp(-2, length + 1).nan_to_num_(nan=-2.0)
    first = position.floor()
    second_share = position.sub_(first)
    first_share = 1 - second_share
    second = first + 1
    first_inside, second_inside = first.clamp(0, length - 1), second.clamp(0, length - 1)
    # Neighbours outside the image keep their place in the sum, with weight zero.
    first_share.mul_(first_inside == first)
    second_share.mul_(second_inside == second)
    return first_inside.to(torch.int32), second_inside.to(torch.int32), first_share, second_share


def weighted_rows(table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Sum ``weight * table[index]`` over the last axis: ``(..., 4)`` and a float32 table ``(m, c)`` to ``(k, c)``."""
    return F.embedding_bag(index.view(-1, 4), table, mode="sum", per_sample_weights=weight.view(-1, 4))
