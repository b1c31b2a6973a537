"""The training loop: one iteration is one optimiser step, and any iteration can be the first."""

from collections.abc import Iterator, Mapping

import torch
from mmengine.dist import all_reduce_dict, get_rank
from mmengine.runner import BaseLoop, Runner
from torch.utils.data import DataLoader

from vsr_plugin.data.sampling import ResumableSampler, mixed_seed, seed_everything
from vsr_plugin.errors import TrainingError, VSRError
from vsr_plugin.registry import LOOPS


def check_count(name: str, value: object) -> int:
    """A setting that counts something, as a whole number from 1 on.

    Raises:
        TrainingError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 1 or value % 1:
        raise TrainingError(f"{name} {value!r}: use a whole number from 1 on")
    return int(value)


@LOOPS.register_module()
class StepTrainLoop(BaseLoop):
    """Trains for a number of optimiser steps, validating in between.

    Against mmengine's ``IterBasedTrainLoop``: a batch may be computed in micro-batches, whose gradients are summed,
    while schedules, freezing, logs and checkpoints go on counting steps; and a resumed run does not load again what
    it has been trained on, but lets the sampler start where it was. Every iteration draws its random numbers from a
    seed of its own, so that a resumed run is the identical run.

    Args:
        runner: the runner.
        dataloader: training data; its sampler has to be a :class:`ResumableSampler`.
        max_iters: optimiser steps of the whole run.
        val_interval: steps between validations; there is one after the last step as well.
        val_begin: no validation before this step.
        micro_batch_size: samples of each process that are computed at once; by default the whole batch.

    Raises:
        VSRError: a number is not one from 1 on, the batch does not divide into micro-batches, or the sampler cannot
            resume.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        max_iters: int,
        val_interval: int = 1000,
        val_begin: int = 1,
        micro_batch_size: int | None = None,
    ):
        self.max_iters, self.max_epochs = check_count("train_cfg.max_iters", max_iters), 1
        self.val_interval = check_count("train_cfg.val_interval", val_interval)
        self.val_begin = val_begin
        if micro_batch_size is not None:
            micro_batch_size = check_count("train_cfg.micro_batch_size", micro_batch_size)
        super().__init__(runner, dataloader)
        if not isinstance(self.dataloader.sampler, ResumableSampler):
            raise VSRError("train_dataloader: this loop needs sampler=dict(type='ResumableSampler')")
        batch_size = self.dataloader.batch_size
        self.micro_batch_size = micro_batch_size or batch_size
        if batch_size % self.micro_batch_size:
            raise VSRError(f"micro_batch_size {micro_batch_size} does not divide the batch of {batch_size} per process")
        # The runner sets both when it resumes.
        self._iter, self._epoch = 0, 0
        #: Set by hooks to end the run after the current step.
        self.stop_training = False

    @property
    def iter(self) -> int:
        """Optimiser steps taken."""
        return self._iter

    @property
    def epoch(self) -> int:
        """The run is one long epoch."""
        return self._epoch

    def run(self) -> torch.nn.Module:
        """Train from the current step to the last."""
        runner = self.runner
        counts = self.dataloader.batch_size // self.micro_batch_size
        if counts > 1 or self._iter:
            runner.optim_wrapper.accumulate(counts, counts * self._iter, counts * self.max_iters, runner.model)
        self.dataloader.sampler.place(self._iter, self.dataloader.batch_size, runner.seed)
        runner.call_hook("before_train")
        runner.call_hook("before_train_epoch")
        batches = _own_errors(iter(self.dataloader))
        while self._iter < self.max_iters and not self.stop_training:
            runner.model.train()
            seed_everything(mixed_seed(runner.seed, self._iter, get_rank(), 2))
            self.run_iter(next(batches))
            due = self._iter % self.val_interval == 0 or self._iter == self.max_iters
            if runner.val_loop is not None and self._iter >= self.val_begin and due:
                runner.val_loop.run()
        runner.call_hook("after_train_epoch")
        runner.call_hook("after_train")
        return runner.model

    def run_iter(self, data_batch: dict) -> None:
        """One optimiser step on a batch of ``inputs`` and ``data_samples``."""
        runner = self.runner
        runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=data_batch)
        outputs = [
            runner.model.train_step(part, optim_wrapper=runner.optim_wrapper)
            for part in _split(data_batch, self.micro_batch_size)
        ]
        mean = {name: sum(output[name].detach() for output in outputs) / len(outputs) for name in outputs[0]}
        # A process computes the loss of its share; what is logged is that of the batch.
        all_reduce_dict(mean, op="mean")
        runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=data_batch, outputs=mean)
        self._iter += 1


def _split(data_batch: Mapping, size: int) -> Iterator[dict]:
    for begin in range(0, len(data_batch["inputs"]), size):
        yield {key: values[begin : begin + size] for key, values in data_batch.items()}


def _own_errors(batches: Iterator[dict]) -> Iterator[dict]:
    """The batches; an error that a worker process reports with its traceback is brought back to its one line."""
    while True:
        try:
            yield next(batches)
        except VSRError as error:
            last = str(error).strip().splitlines()[-1]
            raise type(error)(last.partition(f"{type(error).__name__}: ")[2] or last) from None
