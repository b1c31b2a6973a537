"""A comparison picture: the restored frame, and a crop of it enlarged beside other versions."""

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

_BACKGROUND, _INK, _MARK = (24, 24, 24), (235, 235, 235), (255, 196, 0)
_GAP, _LABEL_HEIGHT = 12, 34


def most_different_crop(restored: np.ndarray, baseline: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
    """Top left corner of the crop of ``size`` (height, width) in which two RGB frames differ most in luma."""
    weights = np.array([0.299, 0.587, 0.114])
    difference = np.abs((restored.astype(np.float32) - baseline.astype(np.float32)) @ weights)
    # Anchored at its own corner, the box sum at (y, x) covers exactly the crop that begins there.
    sums = cv2.boxFilter(difference, -1, size[::-1], anchor=(0, 0), normalize=False)
    rows, columns = (length - part + 1 for length, part in zip(difference.shape, size, strict=True))
    return tuple(int(i) for i in np.unravel_index(np.argmax(sums[:rows, :columns]), (rows, columns)))


def _resized(rgb: np.ndarray, width: int, height: int) -> Image.Image:
    shrinking = width < rgb.shape[1]
    return Image.fromarray(rgb).resize(
        (width, height), Image.Resampling.LANCZOS if shrinking else Image.Resampling.NEAREST
    )


def comparison_picture(versions: dict[str, np.ndarray], main: str, *, width: int = 1280) -> Image.Image:
    """Draw one version of a frame whole, and below it the same enlarged crop of every version.

    The crop is where the main version differs most from the first one.

    Args:
        versions: label to RGB frame ``(h, w, 3)`` of ``uint8``, all of one size, in the order to show them; the
            first is the baseline.
        main: label of the version to show whole.
        width: of the picture in pixels.

    Returns:
        The picture, RGB.
    """
    frame = versions[main]
    h, w = frame.shape[:2]
    inner = width - 2 * _GAP
    panel = (inner - _GAP * (len(versions) - 1)) // len(versions)
    crop_w = max(1, min(w, round(w * 0.16)))
    crop_h = max(1, min(h, round(crop_w * 0.75)))
    panel_h = round(panel * crop_h / crop_w)
    top, left = most_different_crop(frame, next(iter(versions.values())), (crop_h, crop_w))
    frame_h = round(inner * h / w)

    picture = Image.new("RGB", (width, 3 * _GAP + frame_h + _LABEL_HEIGHT + panel_h), _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(20)
    picture.paste(_resized(frame, inner, frame_h), (_GAP, _GAP))
    zoom = inner / w
    box = [left, top, left + crop_w, top + crop_h]
    draw.rectangle([_GAP + round(edge * zoom) for edge in box], outline=_MARK, width=3)
    y = 2 * _GAP + frame_h
    for i, (label, rgb) in enumerate(versions.items()):
        x = _GAP + i * (panel + _GAP)
        draw.text((x, y), label, fill=_INK, font=font)
        crop = rgb[top : top + crop_h, left : left + crop_w]
        picture.paste(_resized(np.ascontiguousarray(crop), panel, panel_h), (x, y + _LABEL_HEIGHT))
    return picture
