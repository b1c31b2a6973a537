"""Data: degradations that make LR frames from ground truth, and samples for training."""

from vsr_plugin.datasets.concat_clips import ConcatClips
from vsr_plugin.datasets.resumable_sampler import ResumableSampler

__all__ = ["ConcatClips", "ResumableSampler"]
