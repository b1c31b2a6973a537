"""Says which samples gave a gradient that is not finite, and stops a run that only skips."""

import logging
from typing import Any

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from vsr_plugin.errors import TrainingError
from vsr_plugin.registry import HOOKS


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
                loss = model(**batch, mode="loss")["loss"]
            if not torch.isfinite(loss):
                names.append(f"{sample.metainfo.get('key')}, frames {sample.metainfo.get('frames')}")
        return names
