"""Optical flow between neighbouring frames in colours, with the wheel as legend."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from vsr_plugin.visualization.flow_colours import colour_wheel, flow_to_colour
from vsr_plugin.visualization.panels import GAP, LABEL_HEIGHT, Panel, enlarged, fitting_factor, panel_rows, write


def flow_picture(frames: dict[str, np.ndarray], flows: dict[str, np.ndarray]) -> Image.Image:
    """Draw frames in one row and the flows between them below, all on one scale.

    The scale ends at the 99th percentile of the lengths, so that a few wild vectors do not pale the others; those are
    darkened.

    Args:
        frames: label to RGB ``(h, w, 3)`` of ``uint8``.
        flows: label to flow ``(h, w, 2)`` in pixels.

    Returns:
        The picture, RGB.
    """
    lengths = np.concatenate([np.hypot(flow[..., 0], flow[..., 1]).ravel() for flow in flows.values()])
    longest = max(float(np.percentile(lengths, 99)), 1e-3)
    factor = fitting_factor(next(iter(frames.values())).shape[1], max(len(frames), len(flows)))
    picture = panel_rows(
        [
            [Panel(label, enlarged(rgb, factor)) for label, rgb in frames.items()],
            [Panel(label, enlarged(flow_to_colour(flow, longest), factor)) for label, flow in flows.items()],
        ]
    )
    return beside_legend(picture, longest, float(lengths.max()))


def beside_legend(picture: Image.Image, longest: float, most: float, wheel: int = 132) -> Image.Image:
    """Put the wheel beside a picture.

    Args:
        picture: RGB, in whose colours displacements are.
        longest: length in pixels that is fully saturated.
        most: length of the longest.
        wheel: diameter in pixels of the picture.

    Returns:
        The picture, RGB.
    """
    legend = Image.new("RGB", (wheel + 2 * GAP + 60, picture.height), picture.getpixel((0, 0)))
    draw = ImageDraw.Draw(legend)
    rgb = colour_wheel(wheel)
    rgb[(rgb == 0).all(axis=-1)] = picture.getpixel((0, 0))
    legend.paste(Image.fromarray(rgb), (GAP, GAP + LABEL_HEIGHT))
    write(draw, GAP, GAP, "direction")
    y = GAP + LABEL_HEIGHT + wheel + GAP
    for line in ("centre: no motion", f"rim: {longest:.2f} px", "darker: more,", f"up to {most:.2f} px"):
        write(draw, GAP, y, line, size=16)
        y += 24
    joined = Image.new("RGB", (picture.width + legend.width, max(picture.height, y + GAP)), picture.getpixel((0, 0)))
    joined.paste(picture, (0, 0))
    joined.paste(legend, (picture.width, 0))
    return joined
