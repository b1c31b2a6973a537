"""Propagation: which frames a frame learns from, and in which order; here bidirectional over the sequence."""

from vsr_plugin.models.propagation.bidirectional import BidirectionalPropagation
from vsr_plugin.models.propagation.resblocks import ResidualBlockNoBN, ResidualBlocksWithInputConv

__all__ = ["BidirectionalPropagation", "ResidualBlockNoBN", "ResidualBlocksWithInputConv"]
