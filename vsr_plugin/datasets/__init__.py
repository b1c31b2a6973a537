"""Data: clips on disk, degradations that make LR frames from ground truth, samples for training and evaluation."""

from vsr_plugin.datasets.clip_dataset import ClipDataset
from vsr_plugin.datasets.concat_clips import ConcatClips
from vsr_plugin.datasets.resumable_sampler import ResumableSampler

__all__ = ["ClipDataset", "ConcatClips", "ResumableSampler"]
