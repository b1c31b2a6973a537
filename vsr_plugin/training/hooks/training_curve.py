"""The curve of a training, kept up to date as a picture."""

import logging

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from vsr_plugin.errors import VSRError
from vsr_plugin.registry import HOOKS
from vsr_plugin.visualization.training_curve import plot_training


@HOOKS.register_module()
class TrainingCurve(Hook):
    """Draws loss and validation PSNR so far to ``work_dir/training.png`` after every validation."""

    # After the logger, from whose file it draws.
    priority = "VERY_LOW"

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Draw; a picture that cannot be drawn does not stop a training."""
        try:
            plot_training(runner.work_dir)
        except (VSRError, OSError) as error:
            print_log(f"training.png was not drawn: {error}", "current", logging.WARNING)
