"""Upsampling: from features to the HR frame."""

from vsr_plugin.models.upsampling.pixel_shuffle import SHUFFLES, PixelShufflePack, PixelShuffleUpsampling

__all__ = ["SHUFFLES", "PixelShufflePack", "PixelShuffleUpsampling"]
