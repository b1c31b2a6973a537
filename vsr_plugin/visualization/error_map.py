"""Where a restored frame differs from its ground truth, in colours with a scale."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw

from vsr_plugin.visualization.panels import (
    BACKGROUND,
    GAP,
    LABEL_HEIGHT,
    Panel,
    enlarged,
    fitting_factor,
    panel_rows,
    write,
)


def error_map(restored: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """Mean absolute difference over the channels, ``(h, w)`` in levels of 8 bits; both ``(h, w, 3)`` of ``uint8``."""
    return np.abs(restored.astype(np.int16) - gt.astype(np.int16)).mean(axis=-1)


def error_colours(errors: np.ndarray, limit: float) -> np.ndarray:
    """Errors ``(h, w)`` in the colours of the scale ``(h, w, 3)``; dark for none, the last colour from ``limit`` on."""
    levels = np.rint(255 * np.clip(errors / limit, 0, 1)).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def error_picture(versions: dict[str, np.ndarray], gt: np.ndarray) -> Image.Image:
    """Draw each version of a frame above its error map, all on one scale.

    The scale ends at the 99.5th percentile of the errors of the first version.

    Args:
        versions: label to RGB frame ``(h, w, 3)`` of ``uint8``; the first is the baseline.
        gt: ground truth of the same shape.

    Returns:
        The picture, RGB.
    """
    errors = {label: error_map(frame, gt) for label, frame in versions.items()}
    limit = max(float(np.ceil(np.percentile(next(iter(errors.values())), 99.5))), 1.0)
    factor = fitting_factor(gt.shape[1], len(versions))
    above = [Panel(label, enlarged(frame, factor)) for label, frame in versions.items()]
    below = [
        Panel(f"{label}: error, mean {e.mean():.2f}", enlarged(error_colours(e, limit), factor))
        for label, e in errors.items()
    ]
    picture = panel_rows([above, below])
    scale = _scale(limit, picture.height - 2 * GAP - LABEL_HEIGHT)
    joined = Image.new("RGB", (picture.width + scale.width, picture.height), BACKGROUND)
    joined.paste(picture, (0, 0))
    joined.paste(scale, (picture.width, GAP + LABEL_HEIGHT))
    return joined


def _scale(limit: float, height: int) -> Image.Image:
    strip = Image.new("RGB", (150, height), BACKGROUND)
    bar = error_colours(np.linspace(limit, 0, height - 40)[:, None].repeat(24, axis=1), limit)
    strip.paste(Image.fromarray(bar), (0, 10))
    draw = ImageDraw.Draw(strip)
    for k in range(5):
        y = 10 + (height - 40) * k / 4
        beyond = " or more" if k == 0 else ""
        write(draw, 32, y, f"{limit * (1 - k / 4):.3g}{beyond}", size=16, anchor="lm")
    write(draw, 0, height - 20, "levels of 255", size=16)
    return strip
