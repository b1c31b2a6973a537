"""Upsampling: from features to the HR frame."""

from vsr_plugin.models.upsampling.pixel_shuffle import PixelShufflePack, PixelShuffleUpsampling

__all__ = ["PixelShufflePack", "PixelShuffleUpsampling"]
