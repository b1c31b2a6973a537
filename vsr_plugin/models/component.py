"""What the parts of a network have in common: weights by name, and tables of the choices that there are."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch.nn as nn

from vsr_plugin.errors import ComponentError
from vsr_plugin.weights import load_into, warm_start


class ComponentTable:
    """Classes by the names that configs use.

    Args:
        component: what is chosen, such as ``'alignment'``; the name of the networks' argument.

    Example:
        >>> table = ComponentTable("colour")
        >>> @table.register("red")
        ... class Red: ...
        >>> type(table.build("red")).__name__
        'Red'
    """

    def __init__(self, component: str):
        self.component = component
        self._classes: dict[str, type] = {}

    def register(self, name: str) -> Callable[[type], type]:
        """Decorator that enters a class under ``name``.

        Raises:
            ComponentError: another class has the name.
        """

        def enter(cls: type) -> type:
            taken = self._classes.setdefault(name, cls)
            # The same file may be imported again under another module name, by a config for example.
            if taken.__qualname__ != cls.__qualname__:
                raise ComponentError(f"{self.component} {name!r} exists already; choose another name")
            self._classes[name] = cls
            return cls

        return enter

    def names(self) -> list[str]:
        """The names that can be chosen."""
        return list(self._classes)

    def build(self, choice: str | Mapping[str, Any], **arguments: Any) -> Any:
        """Make what was chosen.

        Args:
            choice: a name, or ``dict(type=name, ...)`` with arguments of the class.
            arguments: what every choice is given.

        Raises:
            ComponentError: there is no such choice, or it does not take the arguments.
        """
        options = dict(choice) if isinstance(choice, Mapping) else dict(type=choice)
        name = options.pop("type", None)
        if name not in self._classes:
            known = ", ".join(sorted(self._classes))
            raise ComponentError(f"`{self.component}` {name!r} does not exist; choose one of {known}")
        try:
            return self._classes[name](**arguments, **options)
        except TypeError as error:
            raise ComponentError(f"`{self.component}` {name!r} cannot be made: {error}") from error


class VSRModule(nn.Module):
    """A module that ``mmengine`` initialises like its ``BaseModule``, with this package's loader of weights.

    With ``init_cfg=dict(type='Pretrained', checkpoint=...)`` the checkpoint may be a published name
    (``'spynet'``, ``'edvrm_reds'``, ``'basicvsr_reds4'``, ...), a path or an address, in any published key
    layout, and is read as data only. ``dict(type='WarmStart', checkpoint=...)`` gives an IconVSR the weights of a
    BasicVSR, see :func:`vsr_plugin.weights.warm_start`; its parts are initialised before. Other types are mmengine's.
    Nothing is loaded by the constructor: the runner, or the user, calls ``init_weights()``.

    It is no ``BaseModule``, because importing that takes longer than importing the nets.

    Attributes:
        init_cfg: how to initialise, ``None`` for what the constructor draws.
        is_init: whether that has been done, which ``mmengine`` asks for.
    """

    def __init__(self, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__()
        self.init_cfg = copy.deepcopy(init_cfg)
        self.is_init = False

    def init_weights(self) -> None:
        """Initialise this module and its children as their ``init_cfg`` say; a second call does nothing.

        Raises:
            WeightsError: a checkpoint cannot be found, read or matched to the module.
        """
        if self.is_init:
            return
        steps = [self.init_cfg] if isinstance(self.init_cfg, dict) else self.init_cfg or []
        loading = [step for step in steps if step["type"] in ("Pretrained", "WarmStart")]
        if others := [step for step in steps if step not in loading]:
            from mmengine.model import initialize

            initialize(self, others)
        if not any(step["type"] == "Pretrained" for step in loading):
            for child in self.children():
                if hasattr(child, "init_weights") and not getattr(child, "is_init", False):
                    child.init_weights()
        for step in loading:
            {"Pretrained": load_into, "WarmStart": warm_start}[step["type"]](self, step["checkpoint"])
        self.is_init = True


def pretrained(checkpoint: str | None) -> dict | None:
    """Return the ``init_cfg`` that loads ``checkpoint``, or ``None`` for a random start."""
    return None if checkpoint is None else dict(type="Pretrained", checkpoint=checkpoint)
