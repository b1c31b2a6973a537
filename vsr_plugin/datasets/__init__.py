"""Data: clips, degradations that make LR frames from ground truth, and samples for training and evaluation."""

from vsr_plugin.datasets.clip_dataset import ClipDataset
from vsr_plugin.datasets.concat_clips import ConcatClips
from vsr_plugin.datasets.resumable_sampler import ResumableSampler
from vsr_plugin.datasets.transforms import Degrade, PackInputs

__all__ = ["ClipDataset", "ConcatClips", "Degrade", "PackInputs", "ResumableSampler"]
