"""Upsampling: from features to the HR frame."""

from vsr_plugin.models.upsampling.pixel_shuffle import SHUFFLES, PixelShufflePack, PixelShuffleUpsampling, enlarged

__all__ = ["SHUFFLES", "PixelShufflePack", "PixelShuffleUpsampling", "enlarged"]
