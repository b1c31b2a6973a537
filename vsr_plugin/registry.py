"""Registries of the scope ``vsr_plugin``, each a child of MMagic's of the same name.

So our ``BasicVSRNet`` and MMagic's live side by side, and a config under
``default_scope='vsr_plugin'`` finds MMagic's losses, transforms, metrics and hooks by their plain
names. ``dict(type='mmagic.BasicVSRNet')`` asks for MMagic's where both have the name; from
MMagic's own configs, ``dict(type='vsr_plugin.BasicVSRNet')`` asks for ours.

mmengine imports this module by itself when it meets the scope.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from mmagic import registry as mmagic
from mmengine.registry import Registry

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


class ChildRegistry(Registry):
    """A registry that lets its ancestors import their modules before it falls back on them.

    mmengine's own looks only at what an ancestor happens to have imported so far. Ours come
    first, so that a net of this package is built without the seconds that MMagic's zoo takes.
    """

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
        with super().switch_scope_and_registry(scope or SCOPE) as registry:
            yield registry


def _child_of(parent: Registry, *rooms: str) -> ChildRegistry:
    locations: list[Any] = [f"{SCOPE}.{room}" for room in rooms]
    return ChildRegistry(parent.name, parent=parent, scope=SCOPE, locations=locations)


# All that mmengine's Runner asks the scope for stand here, also those that we add nothing to:
# where one is missing, it warns at every build and then takes mmengine's own.
MODELS = _child_of(mmagic.MODELS, "models", "training")
MODEL_WRAPPERS = _child_of(mmagic.MODEL_WRAPPERS, "models")
WEIGHT_INITIALIZERS = _child_of(mmagic.WEIGHT_INITIALIZERS, "models")
TASK_UTILS = _child_of(mmagic.TASK_UTILS, "models")

DATASETS = _child_of(mmagic.DATASETS, "data")
DATA_SAMPLERS = _child_of(mmagic.DATA_SAMPLERS, "data")
TRANSFORMS = _child_of(mmagic.TRANSFORMS, "data")

METRICS = _child_of(mmagic.METRICS, "evaluation")
EVALUATORS = _child_of(mmagic.EVALUATORS, "evaluation")

RUNNERS = _child_of(mmagic.RUNNERS, "training")
RUNNER_CONSTRUCTORS = _child_of(mmagic.RUNNER_CONSTRUCTORS, "training")
LOOPS = _child_of(mmagic.LOOPS, "training")
HOOKS = _child_of(mmagic.HOOKS, "training")
LOG_PROCESSORS = _child_of(mmagic.LOG_PROCESSORS, "training")
OPTIMIZERS = _child_of(mmagic.OPTIMIZERS, "training")
OPTIM_WRAPPERS = _child_of(mmagic.OPTIM_WRAPPERS, "training")
OPTIM_WRAPPER_CONSTRUCTORS = _child_of(mmagic.OPTIM_WRAPPER_CONSTRUCTORS, "training")
PARAM_SCHEDULERS = _child_of(mmagic.PARAM_SCHEDULERS, "training")

VISUALIZERS = _child_of(mmagic.VISUALIZERS, "visualization")
VISBACKENDS = _child_of(mmagic.VISBACKENDS, "visualization")
