"""What a study is: parts that are measured one by one, and a report of all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from vsr_plugin.studies.options import StudyOptions

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Part:
    """One measurement of a study.

    Args:
        label: for the progress display.
        settings: everything that the result depends on, plain data for JSON; what is kept of an interrupted study
            is found by it again.
    """

    label: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Table:
    """Figures in rows.

    Args:
        columns: their titles.
        rows: texts and numbers; ``None`` for an empty cell.
        forms: format of the numbers of a column in Markdown, such as ``{'PSNR': '.2f'}``.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    forms: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What came out of a study.

    Args:
        table: for a person.
        details: for a program, usually a row per frame; the same as ``table`` where nothing finer was measured.
        protocol: how it was measured, a line each.
        findings: what the figures show, a sentence each.
        draw: draws the plot into an empty figure.
        figure_size: of the plot, in inches.
    """

    table: Table
    details: Table
    protocol: Sequence[str]
    findings: Sequence[str]
    draw: Callable[[Figure], None]
    figure_size: tuple[float, float] = (9, 4)


class Study(ABC):
    """One comparison of the paper.

    Args:
        options: what the person chose.
        folder: where a study may keep what its parts need, such as trained networks.
    """

    #: Under which it is asked for.
    name: ClassVar[str]
    #: One line for a list of the studies.
    title: ClassVar[str]
    #: Whether it measures trained weights that a person can choose; those that train all their networks do not.
    takes_weights: ClassVar[bool] = False

    def __init__(self, options: StudyOptions, folder: Path) -> None:
        self.options = options
        self.folder = folder

    @abstractmethod
    def parts(self) -> list[Part]:
        """What there is to measure, in order.

        Raises:
            VSRError: an option cannot be used.
        """

    @abstractmethod
    def measure(self, part: Part, progress: Callable[[float], None]) -> dict[str, Any]:
        """Measure one part.

        Args:
            part: one of :meth:`parts`.
            progress: called with the fraction of the part that was done since the last call; may be left out.

        Returns:
            Plain data for JSON.
        """

    @abstractmethod
    def report(self, results: Sequence[tuple[Part, dict[str, Any]]]) -> Report:
        """Bring the results of all parts together."""
