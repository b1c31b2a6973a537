"""What a study is: choices, parts that are measured one by one, and a report of all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from vsr_plugin.benchmarks.inputs import CROPS
from vsr_plugin.data.degraded_clip import DegradedClip, clip_path, degraded_clip
from vsr_plugin.evaluation.quality import Protocol
from vsr_plugin.media import open_source
from vsr_plugin.restoration.fingerprint import of_input

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: As in the documentation's other figures.
PROTOCOL = Protocol("Y", 0)


@dataclass(frozen=True)
class StudyOptions:
    """Choices; ``None`` leaves them to the study.

    Args:
        clips: sample clips by name, videos or folders; ground truth, of which LR frames are made by BI.
        start: first frame taken of each clip.
        frames: how many frames are taken of each clip.
        size: at most this height and width of the ground truth, from the top left.
        weights: published name or path.
        device: where networks compute.
        train_clips: clips to train on, for the studies that train.
        steps: training steps.
        seeds: how often each network is trained, with the seeds 0, 1, ...
        paper_size: train networks of the paper's size with the paper's data and schedule.
    """

    clips: tuple[str, ...] | None = None
    start: int = 30
    frames: int | None = None
    size: tuple[int, int] | None = None
    weights: str | None = None
    device: torch.device = torch.device("cpu")
    train_clips: tuple[str, ...] | None = None
    steps: int | None = None
    seeds: int = 3
    paper_size: bool = False

    def read(self, clip: str, num_frames: int, scale: int) -> DegradedClip:
        """The piece of a clip that is studied, degraded for a network of ``scale``.

        Raises:
            MediaError: there is no such clip, or it is too short.
        """
        part = dict(start=self.start, num_frames=num_frames, size=self.size_of(clip))
        return degraded_clip(clip, **part, scale=scale)

    def size_of(self, clip: str) -> tuple[int, int]:
        """At most what height and width is taken of a clip's frames: of sample clips those of the documentation."""
        return self.size or CROPS.get(clip, (288, 512))

    def identify(self, clip: str, num_frames: int) -> dict:
        """What of a clip a result depends on, for :class:`~vsr_plugin.studies.study.Part`."""
        with open_source(clip_path(clip)) as source:
            content = of_input(source)
        return dict(clip=clip, content=content, start=self.start, frames=num_frames, size=list(self.size_of(clip)))


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
    #: Of the options ``weights``, ``clips``, ``train_clips`` and ``steps`` those that it looks at. Weights can be
    #: chosen where not all networks are trained by the study.
    takes: ClassVar[tuple[str, ...]] = ("clips", "train_clips", "steps")

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

    def keeps(self, part: Part) -> Path | None:
        """The folder of what an interrupted measurement goes on from, below that of all studies; ``None`` for nothing.

        Args:
            part: one of :meth:`parts`.
        """
        return None

    @abstractmethod
    def report(self, results: Sequence[tuple[Part, dict[str, Any]]]) -> Report:
        """Bring the results of all parts together."""


def describe_clip(settings: dict) -> str:
    """A clip of a part's settings in a line for the protocol."""
    height, width = settings["size"]
    end = settings["start"] + settings["frames"] - 1
    return (
        f"{settings['clip']}: frames {settings['start']} to {end}, at most {width}x{height} from the top left, "
        "degraded by BI and rounded to 8 bits"
    )
