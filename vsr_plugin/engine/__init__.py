"""Training and testing through the OpenMMLab runner: loops, optimiser steps, hooks, checkpoint files."""

from vsr_plugin.engine.checkpoint_files import AtomicBackend
from vsr_plugin.engine.hooks import (
    DataOnlyCheckpoints,
    FreezeModules,
    NonFiniteGuard,
    TrainingCurve,
    ValidationPictures,
)
from vsr_plugin.engine.multi_set_test_loop import MultiSetTestLoop
from vsr_plugin.engine.optim_wrapper import GuardedOptimWrapper
from vsr_plugin.engine.parts_constructor import PartsConstructor
from vsr_plugin.engine.step_train_loop import StepTrainLoop

__all__ = [
    "AtomicBackend",
    "DataOnlyCheckpoints",
    "FreezeModules",
    "GuardedOptimWrapper",
    "MultiSetTestLoop",
    "NonFiniteGuard",
    "PartsConstructor",
    "StepTrainLoop",
    "TrainingCurve",
    "ValidationPictures",
]
