"""mmengine's runner, with one line for whatever cannot be built from the config or loaded into what was built."""

import functools
import inspect
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.hooks import CheckpointHook
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from vsr_plugin.errors import VSRError, WeightsError
from vsr_plugin.training.video_restorer import UNNAMED_CHECKPOINT

#: What constructors raise about their arguments.
_FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


@contextmanager
def building(part: str) -> Iterator[None]:
    """Turn the error of a constructor into one line.

    Args:
        part: file and settings from which something is built.

    Raises:
        VSRError: there was an error about arguments.
    """
    try:
        yield
    except VSRError:
        raise
    except _FAULTS as error:
        raise VSRError(f"{part} cannot be built: {plain_text(error)}") from error


def plain_text(error: BaseException) -> str:
    """An error's text in one line, without what mmengine's registries put in front of it."""
    text = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    text = " ".join(re.sub(r"^(?:class `\w+` in \S+: )+", "", text).split())
    return text or type(error).__name__


class _HeldBack(logging.Filter):
    """Keeps what a logger says to a person until work begins, but for warnings: a refusal is then one line, no page.

    The log file gets everything at once.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self._records: list[logging.LogRecord] = []
        self._handlers = [each for each in logger.handlers if not isinstance(each, logging.FileHandler)]
        for handler in self._handlers:
            for other in [each for each in handler.filters if isinstance(each, _HeldBack)]:  # of a run that was refused
                handler.removeFilter(other)
            handler.addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            return True
        self._records.append(record)
        return False

    def release(self) -> None:
        """Say all of it, and from here on everything at once."""
        for handler in self._handlers:
            handler.removeFilter(self)
            for record in self._records:
                handler.handle(record)
        self._handlers = []


def _checked(build: Callable, settings: str) -> Callable:
    """A method of the runner that builds something; arguments that do not fit are a ``VSRError`` naming settings."""

    @functools.wraps(build)
    def checked(runner: Runner, *args: Any, **kwargs: Any) -> Any:
        with building(f"{runner.cfg.filename}: {settings}"):
            return build(runner, *args, **kwargs)

    return checked


class CheckedRunner(Runner):
    """Guards the building only: an error of the training itself keeps its traceback.

    mmengine builds models and hooks at once, but loops, data loaders, optimiser and schedule when they are used first.
    """

    build_train_loop = _checked(Runner.build_train_loop, "train_cfg or train_dataloader")
    build_val_loop = _checked(Runner.build_val_loop, "val_cfg, val_dataloader or val_evaluator")
    build_test_loop = _checked(Runner.build_test_loop, "test_cfg, test_dataloader or test_evaluator")
    build_optim_wrapper = _checked(Runner.build_optim_wrapper, "optim_wrapper")
    build_param_scheduler = _checked(Runner.build_param_scheduler, "param_scheduler")
    build_evaluator = _checked(Runner.build_evaluator, "an evaluator")
    _register_hooks = _checked(Runner.register_hooks, "default_hooks or custom_hooks")

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger, which says nothing before work begins."""
        logger = super().build_logger(*args, **kwargs)
        self._held_back = _HeldBack(logger)
        return logger

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call all hooks."""
        if fn_name in ("before_train", "before_val", "before_test"):
            self._held_back.release()
        if fn_name == "before_save_checkpoint":  # the last bits of a step depend on it
            kwargs["checkpoint"]["meta"]["threads"] = torch.get_num_threads()
        super().call_hook(fn_name, **kwargs)

    def register_hooks(self, default_hooks: dict | None = None, custom_hooks: list | None = None) -> None:
        """Build the hooks.

        Raises:
            VSRError: one does not exist or does not take its arguments.
        """
        self._register_hooks(default_hooks, custom_hooks)
        for hook in self.hooks:
            if isinstance(hook, CheckpointHook):
                # It keeps whatever it does not know for the day that it saves.
                unknown = hook.args.keys() - inspect.signature(self.save_checkpoint).parameters.keys()
                if unknown:
                    raise VSRError(
                        f"{self.cfg.filename}: default_hooks or custom_hooks cannot be built: CheckpointHook has no "
                        f"argument {min(unknown)!r}; correct the name"
                    )

    def train(self) -> torch.nn.Module:
        """Train.

        Raises:
            VSRError: a moving average, which a model validates and saves in place of its network, is kept by no hook.
        """
        model = self.model.module if is_model_wrapper(self.model) else self.model
        kept = {name for hook in self.hooks for name in getattr(hook, "module_keys", ())}
        for name, _ in model.named_children():
            if name.endswith("_ema") and name not in kept:
                raise VSRError(
                    f"{self.cfg.filename}: no hook keeps the moving average {name!r}, so {type(model).__name__} would "
                    "validate and save the weights that it began with; add to custom_hooks: "
                    f"dict(type='ExponentialMovingAverageHook', module_keys={name!r}, interval=1)"
                )
        return super().train()

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> dict:
        """Load a checkpoint into the model.

        Raises:
            WeightsError: its weights do not fit.
        """
        try:
            return super().load_checkpoint(filename, *args, **kwargs)
        except WeightsError as error:
            # The model is given tensors and does not know where they are from.
            text = str(error)
            if not text.startswith(UNNAMED_CHECKPOINT):
                raise
            raise WeightsError(f"{filename}{text.removeprefix(UNNAMED_CHECKPOINT)}") from error
