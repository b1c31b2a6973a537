"""Transforms for MMagic's pipelines."""

from vsr_plugin.data.transforms.degrade import Degrade
from vsr_plugin.data.transforms.pack_inputs import PackInputs

__all__ = ["Degrade", "PackInputs"]
