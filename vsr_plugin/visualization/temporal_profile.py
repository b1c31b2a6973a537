"""Temporal profile: one row or column of the picture over time, where flicker and wrong motion show as jags."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vsr_plugin.errors import VSRError
from vsr_plugin.visualization.panels import MARK, Panel, enlarged, panel_rows


def temporal_profile(frames: np.ndarray, *, row: int | None = None, column: int | None = None) -> np.ndarray:
    """Cut one row or one column out of every frame and stack them in order of time.

    Args:
        frames: ``(t, h, w, 3)``.
        row: index of the row; time runs down, ``(t, w, 3)``.
        column: index of the column; time runs to the right, ``(h, t, 3)``.

    Raises:
        VSRError: neither or both are given, or the frames have no such line.
    """
    if (row is None) == (column is None):
        raise VSRError("a temporal profile is of one row or of one column; give one of them")
    what, index, limit = ("row", row, frames.shape[1]) if column is None else ("column", column, frames.shape[2])
    if not 0 <= index < limit:
        raise VSRError(f"{what} {index} does not exist: the frames have {limit}, numbered from 0")
    return frames[:, index] if column is None else frames[:, :, column].swapaxes(0, 1)


def busiest_row(frames: np.ndarray) -> int:
    """Row in which neighbouring frames differ most, away from the upper and lower eighth."""
    change = np.abs(np.diff(frames.astype(np.int16), axis=0)).mean(axis=(0, 2, 3))
    margin = len(change) // 8
    return margin + int(np.argmax(change[margin : len(change) - margin]))


def profile_picture(
    versions: dict[str, np.ndarray], main: str, *, row: int | None = None, column: int | None = None, start: int = 0
) -> Image.Image:
    """Draw a frame with the line marked, and below it the profile of every version.

    Args:
        versions: label to frames ``(t, h, w, 3)`` of ``uint8``, all of one shape.
        main: label of the version whose middle frame is shown.
        row: see :func:`temporal_profile`.
        column: the same.
        start: number of the first frame in its clip.

    Returns:
        The picture, RGB.

    Raises:
        VSRError: see :func:`temporal_profile`.
    """
    profiles = {label: temporal_profile(frames, row=row, column=column) for label, frames in versions.items()}
    frames = versions[main]
    t, _, w = frames.shape[:3]
    factor = max(1, round(1200 / w))
    shown = enlarged(frames[t // 2], factor)
    line = slice((row if column is None else column) * factor, ((row if column is None else column) + 1) * factor)
    shown[(line, slice(None)) if column is None else (slice(None), line)] = MARK
    # A frame is as thick as it takes for the profile to be looked at.
    across = max(factor, round(150 / t))
    time = "time runs down" if column is None else "time runs to the right"
    where = f"row {row}" if column is None else f"column {column}"
    first = Panel(f"{main}, frame {start + t // 2}; yellow: {where}", shown)
    words = f"{where} of frames {start} to {start + t - 1}, {time}"
    rows = [
        Panel(f"{label}: {words}", _stretched(profile, factor, across, column is None))
        for label, profile in profiles.items()
    ]
    if column is None:
        return panel_rows([[first], *([panel] for panel in rows)])
    return panel_rows([[first], rows])


def _stretched(profile: np.ndarray, factor: int, across: int, of_row: bool) -> np.ndarray:
    down, right = (across, factor) if of_row else (factor, across)
    return profile.repeat(down, axis=0).repeat(right, axis=1)
