"""Stand-ins for absent packages, their modules and whatever is in them.

A stand-in is a class, so that MMagic can inherit from it, annotate with it and test against it. It
is silent while MMagic's modules are being imported and raises as soon as somebody calls it, or a
class derived from it, afterwards.
"""

from __future__ import annotations

import threading
from abc import ABCMeta
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vsr_plugin.mmagic_host.packages import Absence

_RECORD = "_vsr_plugin_absence"
_IN_THIS_THREAD = threading.local()
_made: dict[tuple[Absence, str], StandIn] = {}


class StandIn(ABCMeta):  # ABCMeta because mmengine's modules, with which MMagic mixes bases, are of it
    """Type of all stand-ins and of the classes that MMagic derives from them.

    A stand-in is falsy, empty when iterated, gives itself when subscripted, and any attribute of
    it is another stand-in. As a decorator it returns what it decorates. A class derived from one
    behaves as any class, except that it cannot be instantiated.
    """

    def __new__(mcs, name: str, bases: tuple, namespace: dict, **_: Any) -> StandIn:
        # Class keywords are meant for the absent base.
        return super().__new__(mcs, name, bases, namespace)

    def __init__(cls, name: str, bases: tuple, namespace: dict, **_: Any) -> None:
        super().__init__(name, bases, namespace)

    def __getattr__(cls, name: str) -> Any:
        dunder = name.startswith("__") and name.endswith("__")
        if not _is_pure(cls):
            message = f"class '{cls.__qualname__}' has no attribute '{name}'"
            raise AttributeError(message if dunder else f"{message}: {_absence(cls).explain('its base')}")
        if name == "__all__":
            return []
        if dunder and name != "__version__":
            raise AttributeError(f"{cls!r} has no attribute '{name}'")
        return stand_in(_absence(cls), f"{cls.__qualname__}.{name}")

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        what = cls.__qualname__ if _is_pure(cls) else f"{cls.__module__}.{cls.__qualname__}"
        absence = _absence(cls)
        if not getattr(_IN_THIS_THREAD, "depth", 0):
            raise ImportError(absence.explain(what), name=absence.package)
        if len(args) == 1 and not kwargs and _can_be_decorated(args[0]):
            return args[0]
        return stand_in(absence, f"{what}()")

    def __bool__(cls) -> bool:
        return not _is_pure(cls)

    def __iter__(cls) -> Iterator:
        if not _is_pure(cls):
            raise TypeError(f"'{cls.__qualname__}' object is not iterable")
        return iter(())

    def __dir__(cls) -> list[str]:
        return [] if _is_pure(cls) else super().__dir__()

    def __getitem__(cls, item: Any) -> Any:
        if not _is_pure(cls) and hasattr(cls, "__class_getitem__"):
            return cls.__class_getitem__(item)
        return cls

    def __repr__(cls) -> str:
        if not _is_pure(cls):
            return super().__repr__()
        return f"<stand-in for '{cls.__qualname__}': package '{_absence(cls).package}' is absent>"


def stand_in(absence: Absence, dotted: str, **contents: Any) -> StandIn:
    """Return the stand-in for `dotted`, always the same one.

    Args:
        absence: The package it stands for, and why.
        dotted: Full name, such as ``torchvision.utils.make_grid``.
        **contents: Real attributes that it is to have when it is first made.
    """
    if (absence, dotted) not in _made:
        namespace = {_RECORD: absence, "__qualname__": dotted, "__module__": __name__, **contents}
        _made[absence, dotted] = StandIn(dotted.rpartition(".")[2], (), namespace)
    return _made[absence, dotted]


@contextmanager
def silent() -> Iterator[None]:
    """Let stand-ins be called without an error in this thread, as decorators and defaults are."""
    _IN_THIS_THREAD.depth = getattr(_IN_THIS_THREAD, "depth", 0) + 1
    try:
        yield
    finally:
        _IN_THIS_THREAD.depth -= 1


def _is_pure(cls: type) -> bool:
    return _RECORD in vars(cls)


def _absence(cls: type) -> Absence:
    return next(vars(base)[_RECORD] for base in cls.__mro__ if _is_pure(base))


def _can_be_decorated(thing: Any) -> bool:
    if isinstance(thing, StandIn) and _is_pure(thing):
        return False
    return callable(thing) or isinstance(thing, (classmethod, staticmethod, property))
