"""Figures of matplotlib that leave the backend and the figures of the caller alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vsr_plugin.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of so many inches, drawn by Agg and without pyplot."""
    # matplotlib takes a second to import, and only who draws needs it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, target: Path) -> None:
    """Write a figure as PNG; it appears under its name when it is whole.

    Raises:
        MediaError: the folder does not exist or cannot be written.
    """
    write_whole(target, partial(figure.savefig, format="png", dpi=110))
