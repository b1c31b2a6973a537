"""Bilinear samples as weighted sums of four rows of a table, which ``embedding_bag`` computes fast on CPUs."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor


def bilinear_taps(
    x_pos: Tensor,
    y_pos: Tensor,
    h: int,
    w: int,
    *,
    rows_per_pixel: int = 1,
    first_row: Tensor | int = 0,
    factor: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The four pixels around each position, and their shares; outside the image lies zero.

    Args:
        x_pos, y_pos: float32 positions in pixels, of one shape; they are overwritten.
        h, w: size of the image.
        rows_per_pixel: rows of the table between a pixel and the next.
        first_row: row of the image's first pixel, int32 where it differs between positions.
        factor: what the shares are multiplied by, of the same shape.

    Returns:
        ``(index, weight)``, each of that shape with an axis of 4 appended: row of the pixel, the pixels in row-major
        order, int32, always within the image, and its share, 0 for a neighbour outside.
    """
    left, left_share, right_share = _along_one_side(x_pos, w)
    top, top_share, bottom_share = _along_one_side(y_pos, h)
    if factor is not None:
        top_share *= factor
        bottom_share *= factor
    index = torch.empty((*left.shape, 4), dtype=torch.int32)
    weight = torch.empty((*left.shape, 4), dtype=torch.float32)
    first = (top.mul_(w) + left).mul_(rows_per_pixel).add_(first_row)
    down, aside = (w if h > 1 else 0), (1 if w > 1 else 0)
    steps = (0, aside, down, down + aside)
    shares = itertools.product((top_share, bottom_share), (left_share, right_share))
    # Every fourth element at a time: operators on tensors whose last axis is 4 long are ten times slower per element.
    for corner, (step, (vertical, horizontal)) in enumerate(zip(steps, shares, strict=True)):
        torch.add(first, step * rows_per_pixel, out=index[..., corner])
        torch.mul(vertical, horizontal, out=weight[..., corner])
    return index, weight


def _along_one_side(position: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Index of the first of two neighbours along an axis, both inside, and the shares of the two."""
    # A position that is not a number would index outside the table.
    position.nan_to_num_(nan=-2.0)
    first = position.floor().clamp_(0, max(0, length - 2))
    distance = position.sub_(first)
    # Near a border the two may lie on one side of the position; shares fall off with the distance to each, so what
    # would be beyond the border gets none.
    first_share = _share(distance.abs())
    second_share = _share(distance.sub_(1).abs_()) if length > 1 else torch.zeros_like(first_share)
    return first.to(torch.int32), first_share, second_share


def _share(distance: Tensor) -> Tensor:
    """``max(0, 1 - distance)``, into ``distance``."""
    return distance.neg_().add_(1).relu_()


def weighted_rows(table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Sum ``weight * table[index]`` over the last axis: ``(..., 4)`` and a float32 table ``(m, c)`` to ``(k, c)``."""
    return F.embedding_bag(index.view(-1, 4), table, mode="sum", per_sample_weights=weight.view(-1, 4))
