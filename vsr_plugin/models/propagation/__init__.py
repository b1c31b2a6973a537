"""Propagation, one choice a file: local, unidirectional, bidirectional, coupled; and what drives all of them."""

from vsr_plugin.models.propagation.bidirectional import Bidirectional
from vsr_plugin.models.propagation.coupled import Coupled
from vsr_plugin.models.propagation.forgetting import forget
from vsr_plugin.models.propagation.local import Local
from vsr_plugin.models.propagation.propagation import PROPAGATIONS, Propagation
from vsr_plugin.models.propagation.recurrence import Recurrence
from vsr_plugin.models.propagation.resblocks import ResidualBlockNoBN, ResidualBlocksWithInputConv
from vsr_plugin.models.propagation.unidirectional import Unidirectional

__all__ = [
    "PROPAGATIONS",
    "Bidirectional",
    "Coupled",
    "Local",
    "Propagation",
    "Recurrence",
    "ResidualBlockNoBN",
    "ResidualBlocksWithInputConv",
    "Unidirectional",
    "forget",
]
