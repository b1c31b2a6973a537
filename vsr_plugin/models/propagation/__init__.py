"""Propagation, one choice a file: local, unidirectional, bidirectional, coupled; each declares its sweeps."""

from vsr_plugin.models.propagation.bidirectional import Bidirectional
from vsr_plugin.models.propagation.coupled import Coupled
from vsr_plugin.models.propagation.forgetting import forget
from vsr_plugin.models.propagation.local import Local
from vsr_plugin.models.propagation.propagation import PROPAGATIONS, Propagation, Sweep
from vsr_plugin.models.propagation.resblocks import ResidualBlockNoBN, ResidualBlocksWithInputConv
from vsr_plugin.models.propagation.unidirectional import Unidirectional

__all__ = [
    "PROPAGATIONS",
    "Bidirectional",
    "Coupled",
    "Local",
    "Propagation",
    "ResidualBlockNoBN",
    "ResidualBlocksWithInputConv",
    "Sweep",
    "Unidirectional",
    "forget",
]
