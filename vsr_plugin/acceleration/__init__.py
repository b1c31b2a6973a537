"""Faster evaluation and training of a network: fused layers, layouts, reduced precision, a guard against its overflow.

``accelerate.py`` chooses between ``cpu/``, ``cuda/`` and ``generic.py``, which converts layers wherever it is.
"""

from vsr_plugin.acceleration.accelerate import (
    accelerate,
    accelerate_training,
    accelerate_with_fallback,
    check_network,
    cpu_paths,
    missing_kernels,
    training_path,
)
from vsr_plugin.acceleration.fastest import Trial, decided, fastest_precision
from vsr_plugin.acceleration.guard import FiniteGuard, NotFiniteError
from vsr_plugin.acceleration.precision import PRECISIONS

__all__ = [
    "PRECISIONS",
    "FiniteGuard",
    "NotFiniteError",
    "Trial",
    "accelerate",
    "accelerate_training",
    "accelerate_with_fallback",
    "check_network",
    "cpu_paths",
    "decided",
    "fastest_precision",
    "missing_kernels",
    "training_path",
]
