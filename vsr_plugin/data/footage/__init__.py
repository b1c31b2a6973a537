"""What capturing, storing and copying do to real footage, as degradations to train with, by presets."""

from vsr_plugin.data.footage.presets import PRESETS, Preset, degrade_footage

__all__ = ["PRESETS", "Preset", "degrade_footage"]
