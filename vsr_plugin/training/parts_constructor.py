"""One parameter group, with a learning rate of its own, for every part of a network."""

import torch.nn as nn
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper

from vsr_plugin.errors import VSRError
from vsr_plugin.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS


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
