"""Data: clips, degradations that make LR frames from ground truth, and samples for training and evaluation."""

from vsr_plugin.data.clip_dataset import ClipDataset, ConcatClips
from vsr_plugin.data.sampling import ResumableSampler
from vsr_plugin.data.transforms import Degrade, PackInputs

__all__ = ["ClipDataset", "ConcatClips", "Degrade", "PackInputs", "ResumableSampler"]
