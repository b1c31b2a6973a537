"""The curve of a training, kept up to date as a picture."""

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from vsr_plugin.registry import HOOKS
from vsr_plugin.visualization.training_curve import plot_training


@HOOKS.register_module()
class TrainingCurve(Hook):
    """Draws loss and validation PSNR so far to ``work_dir/training.png`` after every validation."""

    # After the logger, from whose file it draws.
    priority = "VERY_LOW"

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Draw."""
        plot_training(runner.work_dir)
