"""Propagation, one choice a file: local, unidirectional, bidirectional, coupled; and what drives all of them."""

from vsr_plugin.models.propagation.bidirectional import BidirectionalPropagation
from vsr_plugin.models.propagation.coupled import CoupledPropagation
from vsr_plugin.models.propagation.local import LocalPropagation
from vsr_plugin.models.propagation.propagation import PROPAGATIONS, Propagation
from vsr_plugin.models.propagation.recurrence import Recurrence
from vsr_plugin.models.propagation.resblocks import ResidualBlockNoBN, ResidualBlocksWithInputConv
from vsr_plugin.models.propagation.unidirectional import UnidirectionalPropagation

__all__ = [
    "PROPAGATIONS",
    "BidirectionalPropagation",
    "CoupledPropagation",
    "LocalPropagation",
    "Propagation",
    "Recurrence",
    "ResidualBlockNoBN",
    "ResidualBlocksWithInputConv",
    "UnidirectionalPropagation",
]
