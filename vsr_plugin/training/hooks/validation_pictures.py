"""Pictures of validation clips: bicubic, restored, ground truth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from vsr_plugin.errors import VSRError
from vsr_plugin.files import write_whole
from vsr_plugin.ops.resize import bicubic_upsample
from vsr_plugin.registry import HOOKS
from vsr_plugin.visualization import comparison_picture

#: Frame of each clip that is shown by default.
MIDDLE = "middle"


@HOOKS.register_module()
class ValidationPictures(Hook):
    """Draws a frame of the first clips at each validation, on the main process.

    A picture goes to ``work_dir/pictures/iter_NNNNNN_CLIP.png``, and to the runner's visualizer, whose backends such as
    TensorBoard show it. Nothing is kept of a clip after it was drawn.

    Args:
        clips: how many clips of those that the main process restores, from the first on.
        frame: index of the frame, or ``'middle'``; of a shorter clip the last.
        interval: draw at every that many validations, from the first on.

    Raises:
        VSRError: ``frame`` is neither.
    """

    def __init__(self, clips: int = 1, frame: int | str = MIDDLE, interval: int = 1) -> None:
        if frame != MIDDLE and not (isinstance(frame, int) and frame >= 0):
            raise VSRError(f"ValidationPictures: frame {frame!r}: use {MIDDLE!r} or a number from 0 on")
        self.clips, self.frame, self.interval = clips, frame, interval
        self._validations = self._drawn = 0

    def before_val_epoch(self, runner: Runner) -> None:
        """Begin to count clips."""
        self._validations += 1
        self._drawn = 0

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence | None = None
    ) -> None:
        """Draw the clips of this iteration as long as there are some to be drawn.

        Args:
            runner: the runner.
            batch_idx: not used.
            data_batch: not used.
            outputs: what :class:`vsr_plugin.models.VideoRestorer` predicts.
        """
        if not is_main_process() or (self._validations - 1) % self.interval:
            return
        for sample in (outputs or [])[: self.clips - self._drawn]:
            self._drawn += 1
            name = sample.metainfo["key"].replace("/", "_")
            index = min(len(sample.gt_img) // 2 if self.frame == MIDDLE else self.frame, len(sample.gt_img) - 1)
            lr, gt = sample.input[index], sample.gt_img[index]
            versions = {
                "bicubic": bicubic_upsample(_rgb(lr), gt.shape[-1] // lr.shape[-1]),
                "restored": _rgb(sample.output.pred_img[index]),
                "ground truth": _rgb(gt),
            }
            picture = comparison_picture(versions, "restored")
            folder = Path(runner.work_dir, "pictures")
            folder.mkdir(exist_ok=True)
            write_whole(folder / f"iter_{runner.iter:06d}_{name}.png", picture.save)
            runner.visualizer.add_image(f"validation_{name}", np.asarray(picture), step=runner.iter)


def _rgb(frame: Tensor) -> np.ndarray:
    return np.ascontiguousarray(frame.permute(1, 2, 0).cpu().numpy())
