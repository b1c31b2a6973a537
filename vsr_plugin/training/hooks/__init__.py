"""What happens around training steps and validations: freezing, guarding, resuming, pictures."""

from mmengine.hooks import IterTimerHook

from vsr_plugin.registry import HOOKS
from vsr_plugin.training.hooks.data_only_checkpoints import DataOnlyCheckpoints
from vsr_plugin.training.hooks.freeze_modules import FreezeModules
from vsr_plugin.training.hooks.non_finite_guard import NonFiniteGuard
from vsr_plugin.training.hooks.training_curve import TrainingCurve
from vsr_plugin.training.hooks.validation_pictures import ValidationPictures

# MMagic's hook of this name, which the scope would find where a config does not say whose, asks any loop for a length
# that only MMagic's loops have, and so ends a validation of a hundred clips with an AttributeError.
HOOKS.register_module(module=IterTimerHook)

__all__ = [
    "DataOnlyCheckpoints",
    "FreezeModules",
    "IterTimerHook",
    "NonFiniteGuard",
    "TrainingCurve",
    "ValidationPictures",
]
