"""Faster evaluation of a network: fused layers, layouts, reduced precision."""

from vsr_plugin.inference.acceleration.accelerate import accelerate

__all__ = ["accelerate"]
