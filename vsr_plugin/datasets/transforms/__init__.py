"""Transforms for MMagic's pipelines."""

from .degrade import Degrade
from .pack_inputs import PackInputs

__all__ = ["Degrade", "PackInputs"]
