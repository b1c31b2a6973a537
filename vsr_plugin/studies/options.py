"""What a person can choose about a study; every study has its own defaults."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vsr_plugin.benchmarks.inputs import CROPS
from vsr_plugin.data.degraded_clip import DegradedClip, clip_path, degraded_clip
from vsr_plugin.media.source import open_source
from vsr_plugin.restoration.fingerprint import of_input


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
