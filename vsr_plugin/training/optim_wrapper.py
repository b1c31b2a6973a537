"""The optimiser: learning rates by part, any precision, and no step where a gradient is not finite."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn as nn
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from torch import Tensor
from torch.optim import Optimizer

from vsr_plugin.errors import VSRError
from vsr_plugin.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS

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
        accumulative_counts: 1; mmengine's setting, in place of which the loop has ``micro_batch_size``.

    Raises:
        VSRError: there is no such precision, or steps are to be accumulated here.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        precision: str = "fp32",
        max_grad_norm: float | None = None,
        accumulative_counts: int = 1,
    ):
        super().__init__(optimizer)
        if accumulative_counts != 1:  # A checkpoint in the middle of a step would not hold its gradients.
            raise VSRError(
                f"optim_wrapper.accumulative_counts={accumulative_counts}: an iteration is one step of the optimiser "
                "here; set train_dataloader.batch_size to the batch of a step, and train_cfg.micro_batch_size to what "
                "fits into memory"
            )
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


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PartsConstructor:
    """Builds the optimiser with named groups.

    mmengine's own makes a group of every single parameter, which optimisers then step through one by one.

    Args:
        optim_wrapper_cfg: config of the wrapper, with that of the ``optimizer`` inside.
        paramwise_cfg: ``dict(lr_mults={'generator.spynet': 0.125, ...})``: the parts, by name of the module, and their
            learning rates relative to the optimiser's ``lr``; everything else is one more group.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        self.optim_wrapper_cfg = dict(optim_wrapper_cfg)
        self.lr_mults = dict((paramwise_cfg or {}).get("lr_mults", {}))

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build for a model.

        Raises:
            VSRError: the learning rate is no number, or the model has no module, or no parameter to train, under the
                name of a part.
        """
        model = model.module if is_model_wrapper(model) else model
        cfg = dict(self.optim_wrapper_cfg)
        optimizer_cfg = dict(cfg.pop("optimizer"))
        cfg.setdefault("type", "GuardedOptimWrapper")
        if not isinstance(optimizer_cfg["lr"], int | float):
            raise VSRError(f"optim_wrapper.optimizer.lr {optimizer_cfg['lr']!r}: use a number, such as 2e-4")
        groups = {name: dict(params=[], lr=optimizer_cfg["lr"] * mult) for name, mult in self.lr_mults.items()}
        rest = dict(params=[], lr=optimizer_cfg["lr"])
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                part = next((part for part in groups if name.startswith(part + ".")), None)
                groups.get(part, rest)["params"].append(parameter)
        for name, group in groups.items():
            if not group["params"]:
                raise VSRError(f"lr_mults: the model has nothing to train under {name!r}; correct the name")
        if rest["params"]:
            groups = {"everything else": rest, **groups}
        for name, group in groups.items():
            count = sum(parameter.numel() for parameter in group["params"])
            print_log(f"learning rate {group['lr']:g}: {name}, {count:,} parameters", "current")
        optimizer_cfg["params"] = [dict(group, name=name) for name, group in groups.items()]
        return OPTIM_WRAPPERS.build(dict(cfg, optimizer=OPTIMIZERS.build(optimizer_cfg)))
