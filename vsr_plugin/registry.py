"""Registries of the scope ``vsr_plugin``, each a child of MMagic's of the same name.

So our ``BasicVSRNet`` and MMagic's live side by side, and a config under
``default_scope='vsr_plugin'`` finds MMagic's losses, transforms, metrics and hooks by their plain
names. ``dict(type='mmagic.BasicVSRNet')`` asks for MMagic's where both have the name; from
MMagic's own configs, ``dict(type='vsr_plugin.BasicVSRNet')`` asks for ours.

mmengine imports this module by itself when it meets the scope. MMagic is imported by what looks beyond our own names:
a net is built and run without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from mmengine import registry as mmengine
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import DefaultScope, Registry

__all__ = [
    "DATASETS",
    "DATA_SAMPLERS",
    "EVALUATORS",
    "HOOKS",
    "LOG_PROCESSORS",
    "LOOPS",
    "METRICS",
    "MODELS",
    "MODEL_WRAPPERS",
    "OPTIMIZERS",
    "OPTIM_WRAPPERS",
    "OPTIM_WRAPPER_CONSTRUCTORS",
    "PARAM_SCHEDULERS",
    "RUNNERS",
    "RUNNER_CONSTRUCTORS",
    "TASK_UTILS",
    "TRANSFORMS",
    "VISBACKENDS",
    "VISUALIZERS",
    "WEIGHT_INITIALIZERS",
]

SCOPE = "vsr_plugin"
# So that `_base_ = "vsr_plugin::studies/coupled.py"` finds the configs of the installed package.
MODULE2PACKAGE.setdefault(SCOPE, SCOPE)


class ChildRegistry(Registry):
    """A child of mmengine's root, and of MMagic's registry as soon as somebody asks for its parent.

    It lets its ancestors import their modules before it falls back on them; mmengine's own looks only at what an
    ancestor happens to have imported so far. Ours come first, so that a net of this package is built without the
    seconds that MMagic's zoo takes.
    """

    @property
    def parent(self) -> Registry:
        """MMagic's registry of the same name.

        Raises:
            ImportError: If MMagic cannot be imported.
        """
        if self._parent.scope != "mmagic":
            import_module("mmagic.registry")
            self._parent = self._parent.children["mmagic"]
            self._parent.children[SCOPE] = self
        return self._parent

    @parent.setter
    def parent(self, root: Registry) -> None:
        self._parent = root

    def get(self, key: str) -> type | None:
        """Return what is registered under `key` here or in an ancestor, None if nothing is.

        Raises:
            ImportError: If a package that should hold it does not import.
        """
        if self.split_scope_key(key)[0] is None:
            # One after the other: a network is built without what trains it.
            for location in self._locations:
                if key in self.module_dict:
                    break
                import_module(location)
            if key in self.module_dict:
                return self.module_dict[key]
            registry = self.parent
            while registry is not None and key not in registry.module_dict:
                registry.import_from_location()
                registry = registry.parent
        return super().get(key)

    @contextmanager
    def switch_scope_and_registry(self, scope: str | None) -> Iterator[Registry]:
        """Build in our scope, or in the one that is named, for as long as the context lasts.

        mmengine would take the default scope of the moment. MMagic's inferencers set that to theirs, so that
        our model would be given MMagic's network of the same name.
        """
        if scope in (None, SCOPE):
            with DefaultScope.overwrite_default_scope(SCOPE):
                yield self
        else:
            with super().switch_scope_and_registry(scope) as registry:
                yield registry


def _child_of(parent: Registry, *rooms: str) -> ChildRegistry:
    locations: list[Any] = [f"{SCOPE}.{room}" for room in rooms]
    return ChildRegistry(parent.name, build_func=parent.build_func, parent=parent, scope=SCOPE, locations=locations)


# All that mmengine's Runner asks the scope for stand here, also those that we add nothing to:
# where one is missing, it warns at every build and then takes mmengine's own.
MODELS = _child_of(mmengine.MODELS, "models", "training")
MODEL_WRAPPERS = _child_of(mmengine.MODEL_WRAPPERS, "models")
WEIGHT_INITIALIZERS = _child_of(mmengine.WEIGHT_INITIALIZERS, "models")
TASK_UTILS = _child_of(mmengine.TASK_UTILS, "models")

DATASETS = _child_of(mmengine.DATASETS, "data")
DATA_SAMPLERS = _child_of(mmengine.DATA_SAMPLERS, "data")
TRANSFORMS = _child_of(mmengine.TRANSFORMS, "data")

METRICS = _child_of(mmengine.METRICS, "evaluation")
EVALUATORS = _child_of(mmengine.EVALUATOR, "evaluation")

RUNNERS = _child_of(mmengine.RUNNERS, "training")
RUNNER_CONSTRUCTORS = _child_of(mmengine.RUNNER_CONSTRUCTORS, "training")
LOOPS = _child_of(mmengine.LOOPS, "training")
HOOKS = _child_of(mmengine.HOOKS, "training")
LOG_PROCESSORS = _child_of(mmengine.LOG_PROCESSORS, "training")
OPTIMIZERS = _child_of(mmengine.OPTIMIZERS, "training")
OPTIM_WRAPPERS = _child_of(mmengine.OPTIM_WRAPPERS, "training")
OPTIM_WRAPPER_CONSTRUCTORS = _child_of(mmengine.OPTIM_WRAPPER_CONSTRUCTORS, "training")
PARAM_SCHEDULERS = _child_of(mmengine.PARAM_SCHEDULERS, "training")

VISUALIZERS = _child_of(mmengine.VISUALIZERS, "visualization")
VISBACKENDS = _child_of(mmengine.VISBACKENDS, "visualization")
