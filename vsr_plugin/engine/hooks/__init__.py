"""What happens around a training step: freezing, guarding."""

from vsr_plugin.engine.hooks.freeze_modules import FreezeModules
from vsr_plugin.engine.hooks.non_finite_guard import NonFiniteGuard

__all__ = ["FreezeModules", "NonFiniteGuard"]
