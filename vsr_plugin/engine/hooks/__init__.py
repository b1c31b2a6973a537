"""What happens around a training step: freezing, guarding, resuming, pictures."""

from vsr_plugin.engine.hooks.data_only_checkpoints import DataOnlyCheckpoints
from vsr_plugin.engine.hooks.freeze_modules import FreezeModules
from vsr_plugin.engine.hooks.non_finite_guard import NonFiniteGuard
from vsr_plugin.engine.hooks.validation_pictures import ValidationPictures

__all__ = ["DataOnlyCheckpoints", "FreezeModules", "NonFiniteGuard", "ValidationPictures"]
