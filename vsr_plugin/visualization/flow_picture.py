"""Optical flow between neighbouring frames in the colour wheel of Middlebury, with the wheel as legend."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from vsr_plugin.visualization.panels import GAP, LABEL_HEIGHT, Panel, enlarged, fitting_factor, panel_rows, write

#: The wheel: colours at the corners, each reached so many steps after the one before. Transitions between hues that
#: the eye tells apart well are given more steps than the others, after the paper.
_CORNERS = (
    ((255, 0, 0), 0),  # red, to the right
    ((255, 255, 0), 15),  # yellow, down
    ((0, 255, 0), 6),
    ((0, 255, 255), 4),
    ((0, 0, 255), 11),
    ((255, 0, 255), 13),
    ((255, 0, 0), 6),
)
#: Flow that is longer than the scale is shown darker.
_BEYOND = 0.75


def flow_to_colour(flow: np.ndarray, longest: float | None = None) -> np.ndarray:
    """Colours of displacements: hue for the direction, saturation for the length, white for none.

    Right is red, down yellow, left blue-green, up violet. The hue turns evenly in steps of the wheel, which closes on
    itself; the program beside the paper leaves its last step out.

    Args:
        flow: ``(h, w, 2)`` in pixels, channel 0 to the right, 1 down.
        longest: length that is fully saturated, in pixels; that of the longest flow by default. What is longer is
            darkened.

    Returns:
        ``(h, w, 3)`` of ``uint8``; black where the flow is not finite.

    Example:
        >>> flow_to_colour(np.array([[[1.0, 0.0], [0.0, 0.0]]])).tolist()
        [[[255, 0, 0], [255, 255, 255]]]
    """
    finite = np.isfinite(flow).all(axis=-1)
    flow = np.where(finite[..., None], flow, 0).astype(np.float64)
    length = np.hypot(flow[..., 0], flow[..., 1])
    if longest is None:
        longest = float(length.max(initial=0.0))
    radius = length / max(longest, 1e-9)
    steps = np.cumsum([step for _, step in _CORNERS])
    position = (np.arctan2(flow[..., 1], flow[..., 0]) / (2 * np.pi) % 1.0) * steps[-1]
    hue = np.stack([np.interp(position, steps, [c[k] for c, _ in _CORNERS]) for k in range(3)], axis=-1) / 255
    inside = 1 - radius[..., None] * (1 - hue)
    colour = np.where(radius[..., None] <= 1, inside, _BEYOND * hue)
    return np.where(finite[..., None], np.rint(255 * colour), 0).astype(np.uint8)


def colour_wheel(size: int) -> np.ndarray:
    """The legend ``(size, size, 3)``: each pixel in the colour of the flow from the centre to it; outside, black."""
    axis = (np.arange(size) - (size - 1) / 2) / (size / 2)
    flow = np.stack(np.meshgrid(axis, axis), axis=-1)
    flow[np.hypot(flow[..., 0], flow[..., 1]) > 1] = np.nan
    return flow_to_colour(flow, 1.0)


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
