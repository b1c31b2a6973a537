"""Labelled pictures in rows on a dark ground, the layout that the pictures of this package share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

BACKGROUND, INK, MARK = (24, 24, 24), (235, 235, 235), (255, 196, 0)
GAP, LABEL_HEIGHT = 12, 30
_FONT_SIZE = 18


@dataclass(frozen=True)
class Panel:
    """One picture.

    Args:
        label: stands above it; cut off where the picture is narrower.
        rgb: ``(h, w, 3)`` of ``uint8``.
    """

    label: str
    rgb: np.ndarray


def write(
    draw: ImageDraw.ImageDraw, x: float, y: float, text: str, *, size: int = _FONT_SIZE, anchor: str = "la"
) -> None:
    """Write a line in the ink of the pictures."""
    draw.text((x, y), text, fill=INK, font=ImageFont.load_default(size), anchor=anchor)


def enlarged(rgb: np.ndarray, factor: int) -> np.ndarray:
    """Every pixel as a block of ``factor`` x ``factor``."""
    return rgb.repeat(factor, axis=0).repeat(factor, axis=1)


def fitting_factor(width: int, columns: int, target: int = 1280) -> int:
    """How often pixels are repeated for ``columns`` pictures of this width to come nearest to ``target`` pixels."""
    return max(1, round((target - (columns + 1) * GAP) / (columns * width)))


def panel_rows(rows: Sequence[Sequence[Panel]]) -> Image.Image:
    """Draw panels in rows from the left, at their own size."""
    widths = [sum(panel.rgb.shape[1] + GAP for panel in row) + GAP for row in rows]
    heights = [max(panel.rgb.shape[0] for panel in row) + LABEL_HEIGHT + GAP for row in rows]
    picture = Image.new("RGB", (max(widths), sum(heights) + GAP), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    y = GAP
    for row, height in zip(rows, heights, strict=True):
        x = GAP
        for panel in row:
            width = panel.rgb.shape[1]
            write(draw, x, y, _cut(draw, panel.label, width))
            picture.paste(Image.fromarray(np.ascontiguousarray(panel.rgb)), (x, y + LABEL_HEIGHT))
            x += width + GAP
        y += height
    return picture


def _cut(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    font = ImageFont.load_default(_FONT_SIZE)
    while text and draw.textlength(text, font=font) > width:
        text = text[:-1]
    return text
