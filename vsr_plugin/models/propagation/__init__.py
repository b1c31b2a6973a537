"""Propagation, one choice a file (the two grids share one); each declares its sweeps."""

from vsr_plugin.models.propagation.bidirectional import Bidirectional
from vsr_plugin.models.propagation.coupled import Coupled
from vsr_plugin.models.propagation.forgetting import forget
from vsr_plugin.models.propagation.grid import Grid, SecondOrderGrid
from vsr_plugin.models.propagation.local import Local
from vsr_plugin.models.propagation.propagation import PROPAGATIONS, Propagation, Sweep
from vsr_plugin.models.propagation.resblocks import ResidualBlockNoBN, ResidualBlocksWithInputConv
from vsr_plugin.models.propagation.second_order import SecondOrder
from vsr_plugin.models.propagation.unidirectional import Unidirectional

__all__ = [
    "PROPAGATIONS",
    "Bidirectional",
    "Coupled",
    "Grid",
    "Local",
    "Propagation",
    "ResidualBlockNoBN",
    "ResidualBlocksWithInputConv",
    "SecondOrder",
    "SecondOrderGrid",
    "Sweep",
    "Unidirectional",
    "forget",
]
