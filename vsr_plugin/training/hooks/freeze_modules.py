"""Modules whose weights stay as they are for the first steps (section 4: flow network and extractor, 5000)."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch.optim import Optimizer

from vsr_plugin.errors import VSRError
from vsr_plugin.registry import HOOKS


@HOOKS.register_module()
class FreezeModules(Hook):
    """Keeps modules frozen for the first steps of the optimiser.

    Gradients of frozen modules are computed and exchanged between processes but dropped before the step, so neither
    weights nor the optimiser's moments change. ``requires_grad`` is never touched: the graph that
    ``DistributedDataParallel`` has seen stays the same across the unfreezing, and what the user froze for good
    stays frozen. Steps are those that the optimiser has taken, whatever it accumulates and skips; a resumed run goes
    on counting.

    Args:
        modules: names of modules of the model, such as ``'generator.spynet'``.
        steps: how long.
    """

    def __init__(self, modules: Sequence[str], steps: int = 5000):
        self.modules, self.steps = list(modules), steps
        self._done = 0

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

        def drop_gradients(optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
            if self._done < self.steps:
                for parameter in frozen:
                    parameter.grad = None
            elif self._done == self.steps:
                print_log(f"{', '.join(self.modules)}: trained from step {self._done} on", "current")
            self._done += 1

        self._watching = runner.optim_wrapper.optimizer.register_step_pre_hook(drop_gradients)

    def after_train(self, runner: Runner) -> None:
        """Leave the optimiser alone again."""
        self._watching.remove()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Store how many steps are done."""
        checkpoint["optimizer_steps"] = self._done

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Go on counting; a checkpoint of another tool, without the count, has as many steps as iterations."""
        if "optimizer" in checkpoint:
            self._done = checkpoint.get("optimizer_steps", checkpoint.get("meta", {}).get("iter", 0))
