"""Optimiser steps in any precision that leave the weights alone when a gradient is not finite."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn as nn
from mmengine.optim import OptimWrapper
from torch import Tensor
from torch.optim import Optimizer

from vsr_plugin.errors import VSRError
from vsr_plugin.registry import OPTIM_WRAPPERS

#: What the networks compute in during training; flow, warping, loss and weights are float32 in all of them.
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@OPTIM_WRAPPERS.register_module()
class GuardedOptimWrapper(OptimWrapper):
    """mmengine's ``OptimWrapper`` with mixed precision on CPU and GPU, and a guard against non-finite gradients.

    A step whose gradients hold an infinity or NaN, on whichever process, is skipped by all processes and counted;
    :class:`~vsr_plugin.training.hooks.NonFiniteGuard` reports it. The norm of all gradients is logged as ``grad_norm``.

    Args:
        optimizer: the optimiser.
        precision: ``'fp32'``, ``'bf16'``, or ``'fp16'``, which scales the loss dynamically.
        max_grad_norm: clip the gradients' norm; the paper does not.
        accumulative_counts: backward passes for one step.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        precision: str = "fp32",
        max_grad_norm: float | None = None,
        accumulative_counts: int = 1,
    ):
        super().__init__(optimizer, accumulative_counts)
        if precision not in PRECISIONS:
            raise VSRError(f"precision {precision!r} does not exist; choose one of {', '.join(PRECISIONS)}")
        self.dtype = PRECISIONS[precision]
        self.max_grad_norm = math.inf if max_grad_norm is None else max_grad_norm
        device = optimizer.param_groups[0]["params"][0].device.type
        self.scaler = make_scaler(device) if precision == "fp16" else None
        #: Steps skipped since the run began, and without one done in between.
        self.skipped_steps = self.skipped_in_a_row = 0

    def accumulate(self, counts: int, done: int, total: int, model: nn.Module) -> None:
        """Take one step for every ``counts`` backward passes, after ``done`` and until ``total`` of them."""
        self._accumulative_counts = counts
        self.initialize_count_status(model, done, total)

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast if the precision asks for it; no gradient exchange before the last backward pass of a step."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, self.dtype, enabled=self.dtype is not None):
            yield

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Backward pass of the loss, scaled in float16."""
        super().backward(loss if self.scaler is None else self.scaler.scale(loss), **kwargs)

    def step(self, **kwargs: Any) -> None:
        """One step of the optimiser if all gradients are finite."""
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = float(nn.utils.clip_grad_norm_(parameters, self.max_grad_norm))
        self.message_hub.update_scalar("train/grad_norm", norm)
        if math.isfinite(norm):
            self.skipped_in_a_row = 0
            self.optimizer.step(**kwargs)
        else:
            self.skipped_steps += 1
            self.skipped_in_a_row += 1
        if self.scaler is not None:
            # Lowers the scale after an overflow, raises it after a long time without one.
            self.scaler.update()

    def state_dict(self) -> dict:
        """State of the optimiser, of the loss scale, and the number of skipped steps."""
        state = super().state_dict()
        state["skipped_steps"] = self.skipped_steps
        if self.scaler is not None:
            state["loss_scaler"] = self.scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        """Take up a state, of this wrapper or of mmengine's."""
        state = dict(state_dict)
        self.skipped_steps = state.pop("skipped_steps", 0)
        scaler = state.pop("loss_scaler", None)
        if self.scaler is not None and scaler:
            self.scaler.load_state_dict(scaler)
        super().load_state_dict(state)


def make_scaler(device: str) -> Any:
    """A loss scaler, under its name before and after PyTorch 2.3."""
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(device)
    return torch.cuda.amp.GradScaler()
