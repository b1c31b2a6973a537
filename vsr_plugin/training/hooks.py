"""What happens around training steps and validations: freezing, guarding, resuming, pictures."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from mmengine.dist import all_gather_object, is_main_process, master_only
from mmengine.hooks import Hook, IterTimerHook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from safetensors.torch import save
from torch.optim import Optimizer

from vsr_plugin.errors import TrainingError, VSRError
from vsr_plugin.files import write_whole
from vsr_plugin.models.adaptation import Adaptation
from vsr_plugin.ops.frames import to_array
from vsr_plugin.ops.resize import bicubic_upsample
from vsr_plugin.registry import HOOKS
from vsr_plugin.visualization.comparison import comparison_picture
from vsr_plugin.visualization.training_curve import plot_training
from vsr_plugin.weights import load_net

#: Frame of each clip that is shown by default.
MIDDLE = "middle"

# MMagic's hook of this name, which the scope would find where a config does not say whose, asks any loop for a length
# that only MMagic's loops have, and so ends a validation of a hundred clips with an AttributeError.
HOOKS.register_module(module=IterTimerHook)


@HOOKS.register_module()
class DataOnlyCheckpoints(Hook):
    """Takes the config out of a loaded checkpoint.

    mmengine stores it as a Python program and executes it when it resumes, only to compare the number of GPUs.
    """

    priority = "HIGHEST"

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Drop the program; the config that counts is the one that the run was started with."""
        checkpoint.get("meta", {}).pop("config", None)


@HOOKS.register_module()
class FreezeModules(Hook):
    """Keeps modules frozen for the first steps of the optimiser.

    One process alone computes no gradients of frozen modules. With several, ``DistributedDataParallel`` wants the graph
    to stay the same across the unfreezing, so gradients are computed and exchanged, but dropped before the step. In
    both cases neither weights nor the optimiser's moments change, and what the user froze for good stays frozen. Steps
    are those that the optimiser has taken, whatever it accumulates and skips; a resumed run goes on counting.

    Args:
        modules: names of modules of the model, such as ``'generator.spynet'``.
        steps: how long.
    """

    def __init__(self, modules: Sequence[str], steps: int = 5000):
        self.modules, self.steps = list(modules), steps
        self._done = 0
        self._switched: list[nn.Parameter] = []

    def before_train(self, runner: Runner) -> None:
        """Begin to watch the optimiser.

        Raises:
            VSRError: the model has no module of that name.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        known = dict(model.named_modules())
        for name in self.modules:
            if name not in known:
                raise VSRError(f"FreezeModules: the model has no module {name!r}; correct the name in the config")
        frozen = [parameter for name in self.modules for parameter in known[name].parameters()]
        if not is_model_wrapper(runner.model):
            self._switched = [parameter for parameter in frozen if parameter.requires_grad]

        def drop_gradients(optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
            if self._done < self.steps:
                for parameter in frozen:
                    parameter.grad = None
            elif self._done == self.steps:
                print_log(f"{', '.join(self.modules)}: trained from step {self._done} on", "current")
            self._done += 1

        self._watching = runner.optim_wrapper.optimizer.register_step_pre_hook(drop_gradients)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Say which gradients are computed for the step."""
        for parameter in self._switched:
            parameter.requires_grad_(self._done >= self.steps)

    def after_train(self, runner: Runner) -> None:
        """Leave optimiser and parameters alone again."""
        self._watching.remove()
        for parameter in self._switched:
            parameter.requires_grad_(True)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Store how many steps are done."""
        checkpoint["optimizer_steps"] = self._done

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Go on counting; a checkpoint of another tool, without the count, has as many steps as iterations."""
        if "optimizer" in checkpoint:
            self._done = checkpoint.get("optimizer_steps", checkpoint.get("meta", {}).get("iter", 0))


@HOOKS.register_module()
class NonFiniteGuard(Hook):
    """Reports every step that :class:`~vsr_plugin.training.optim_wrapper.GuardedOptimWrapper` skipped.

    Args:
        patience: steps skipped one after the other before the run is stopped. float16 needs about 16 of them to find
            its loss scale.
    """

    def __init__(self, patience: int = 30):
        self.patience = patience

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Look at the step that was just taken, or not.

        Raises:
            TrainingError: it was one skipped step too many.
        """
        wrapper = runner.optim_wrapper
        runner.message_hub.update_scalar("train/skipped_steps", wrapper.skipped_steps)
        if not wrapper.skipped_in_a_row:
            return
        # All processes come here together, since all of them have the same gradients.
        gathered = all_gather_object(self._offenders(runner, data_batch))
        offenders = [name for names in gathered for name in names]
        found = f"the loss is not finite for {'; '.join(offenders)}" if offenders else "no sample's loss is at fault"
        print_log(f"step {batch_idx + 1} skipped: a gradient is not finite ({found})", "current", logging.WARNING)
        if wrapper.skipped_in_a_row >= self.patience:
            bad_weights = [n for n, p in runner.model.named_parameters() if not torch.isfinite(p).all()]
            cause = (
                f"the weights themselves are not finite, {bad_weights[0]} first" if bad_weights
                else f"{found}; look at these clips, or use fp32 or a lower learning rate"
            )  # fmt: skip
            raise TrainingError(
                f"stopped at step {batch_idx + 1}: {wrapper.skipped_in_a_row} steps in a row without a finite "
                f"gradient; {cause}; go on from the last checkpoint with --resume"
            )

    @torch.no_grad()
    def _offenders(self, runner: Runner, data_batch: dict) -> list[str]:
        """Samples of this process whose loss, each taken alone, is not finite."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        names = []
        for inputs, sample in zip(data_batch["inputs"], data_batch["data_samples"], strict=True):
            batch = model.data_preprocessor(dict(inputs=[inputs], data_samples=[sample]), True)
            with runner.optim_wrapper.optim_context(model):
                loss, _ = model.parse_losses(model(**batch, mode="loss"))
            if not torch.isfinite(loss):
                names.append(f"{sample.metainfo.get('key')}, frames {sample.metainfo.get('frames')}")
        return names


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
            outputs: what :class:`vsr_plugin.training.VideoRestorer` predicts.
        """
        if not is_main_process() or (self._validations - 1) % self.interval:
            return
        for sample in (outputs or [])[: self.clips - self._drawn]:
            self._drawn += 1
            name = sample.metainfo["key"].replace("/", "_")
            index = min(len(sample.gt_img) // 2 if self.frame == MIDDLE else self.frame, len(sample.gt_img) - 1)
            lr, gt = sample.input[index], sample.gt_img[index]
            versions = {
                "bicubic": bicubic_upsample(to_array(lr), gt.shape[-1] // lr.shape[-1]),
                "restored": to_array(sample.output.pred_img[index]),
                "ground truth": to_array(gt),
            }
            picture = comparison_picture(versions, "restored")
            folder = Path(runner.work_dir, "pictures")
            folder.mkdir(exist_ok=True)
            write_whole(folder / f"iter_{runner.iter:06d}_{name}.png", picture.save)
            runner.visualizer.add_image(f"validation_{name}", np.asarray(picture), step=runner.iter)


@HOOKS.register_module()
class SaveAdaptation(Hook):
    """After training, writes what it has changed as :class:`vsr_plugin.models.adaptation.Adaptation`.

    Args:
        origin: published name or path of the weights that the generator began with.
        rank: of the change of each convolution, at most.
        filename: in the work folder.
    """

    def __init__(self, origin: str, rank: int = 8, filename: str = "adaptation.safetensors"):
        self.origin, self.rank, self.filename = origin, rank, filename

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Write the file."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        made = Adaptation.between(load_net(self.origin), model.generator, self.rank)
        path = Path(runner.work_dir, self.filename)
        write_whole(path, lambda part: part.write_bytes(save(made.tensors)))
        print_log(f"{path}: {sum(tensor.numel() for tensor in made.tensors.values()):,} numbers", runner.logger)
