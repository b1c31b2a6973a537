"""Training and testing through the OpenMMLab runner: loops, optimiser steps, hooks, checkpoint files."""

from vsr_plugin.training.checkpoint_files import AtomicBackend
from vsr_plugin.training.cleaning_restorer import CleaningRestorer, SharpenedPreprocessor
from vsr_plugin.training.hooks import (
    DataOnlyCheckpoints,
    FreezeModules,
    NonFiniteGuard,
    TrainingCurve,
    ValidationPictures,
)
from vsr_plugin.training.losses import PerceptualLoss, PSNRLoss
from vsr_plugin.training.optim_wrapper import GuardedOptimWrapper, PartsConstructor
from vsr_plugin.training.quantiser_training import QuantiserTraining
from vsr_plugin.training.step_train_loop import StepTrainLoop
from vsr_plugin.training.testing import MultiSetTestLoop
from vsr_plugin.training.video_restorer import SequencePreprocessor, VideoRestorer

__all__ = [
    "AtomicBackend",
    "CleaningRestorer",
    "DataOnlyCheckpoints",
    "FreezeModules",
    "GuardedOptimWrapper",
    "MultiSetTestLoop",
    "NonFiniteGuard",
    "PSNRLoss",
    "PartsConstructor",
    "PerceptualLoss",
    "QuantiserTraining",
    "SequencePreprocessor",
    "SharpenedPreprocessor",
    "StepTrainLoop",
    "TrainingCurve",
    "ValidationPictures",
    "VideoRestorer",
]
