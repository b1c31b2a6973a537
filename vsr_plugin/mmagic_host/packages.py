"""The packages that MMagic imports but BasicVSR and IconVSR do without, how they fail, and what stands in for them."""

from __future__ import annotations

import importlib.util
import sys
import threading
from abc import ABCMeta
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

COMPILED_OPS = "mmcv.ops"

# Import name -> what pip is to be asked for. The versions are the newest that MMagic 1.2.0 imports.
OPTIONAL_PACKAGES = {
    "torchvision": "torchvision",
    "lpips": "lpips",
    "pandas": "pandas",
    "resize_right": "resize-right",
    "diffusers": "diffusers==0.24.0",
    "transformers": "transformers==4.38.2",
    "huggingface_hub": '"huggingface_hub<0.26"',
    "controlnet_aux": "controlnet-aux",
    "albumentations": "albumentations==1.3.1",
    "av": "av",
    "lmdb": "lmdb",
    "face_alignment": "face-alignment",
    "clip": "git+https://github.com/openai/CLIP.git",
    "imageio": "imageio",
    "trimesh": "trimesh",
    "mrcfile": "mrcfile",
    "skimage": "scikit-image",
    "tensorboard": "tensorboard",
    "facexlib": "facexlib",
    "mediapipe": "mediapipe",
    # mmcv and mmcv-lite install the same folder, so the one has to go before the other comes.
    COMPILED_OPS: '"mmcv>=2.0,<2.2" (compiled; pip uninstall mmcv-lite first)',
}


@dataclass(frozen=True)
class Absence:
    """Why a package on the list is not usable.

    Attributes:
        package: Its key in `OPTIONAL_PACKAGES`.
        reason: Empty where it is not installed, else the error with which it fails to import.
    """

    package: str
    reason: str = ""

    def explain(self, what: str) -> str:
        """Say what `what` needs and what to do about it, in one line."""
        cure = f"pip install {OPTIONAL_PACKAGES[self.package]}"
        if self.reason:
            return (
                f"{what} needs the package '{self.package}', which is installed but cannot be imported "
                f"({self.reason}); reinstall the build that fits your PyTorch: {cure}"
            )
        return f"{what} needs the package '{self.package}', which is not installed; {cure}"


def listed_package(name: str) -> str | None:
    """Return the key in `OPTIONAL_PACKAGES` that the import of `name` belongs to, if any."""
    if name == COMPILED_OPS or name.startswith(COMPILED_OPS + "."):
        return COMPILED_OPS
    top = name.partition(".")[0]
    return top if top in OPTIONAL_PACKAGES else None


def absence_from_error(package: str, error: Exception) -> Absence | None:
    """Judge a failed import of a listed package.

    Args:
        package: Key in `OPTIONAL_PACKAGES`.
        error: What importing it, or a module in it, raised.

    Returns:
        None where the package is there and the fault lies elsewhere (an absent dependency, a
        version without the wanted module): that error belongs to the user, not under a stand-in.
    """
    missing = error.name or "" if isinstance(error, ModuleNotFoundError) else None
    if package == COMPILED_OPS:
        if missing in ("mmcv._ext", "mmcv.ops"):
            return Absence(package)
        # An extension that was compiled against another PyTorch fails in the dynamic linker.
        if isinstance(error, ImportError) and Path(error.path or "").name.startswith("_ext."):
            return Absence(package, _one_line(error))
        return None
    if missing is not None:
        folder_only = missing.partition(".")[0] == package and _is_bare_folder(package)
        return Absence(package) if missing == package or folder_only else None
    # A CUDA wheel of torchvision beside a CPU build of torch: there, but no use to anybody.
    if package == "torchvision":
        return Absence(package, _one_line(error))
    return None


def absent_packages() -> dict[str, Absence]:
    """Return the listed packages that are not installed, without importing any of them.

    A package that is installed but broken is only found out by importing it.
    """
    absent = {}
    for package in OPTIONAL_PACKAGES:
        there = has_compiled_ops() if package == COMPILED_OPS else _is_installed(package)
        if not there:
            absent[package] = Absence(package)
    return absent


def has_compiled_ops() -> bool:
    """Whether mmcv is installed with its compiled extension; imports nothing."""
    spec = _find_top_level("mmcv")
    folders = (spec.submodule_search_locations or []) if spec else []
    return PathFinder.find_spec("mmcv._ext", list(folders)) is not None


def _is_installed(package: str) -> bool:
    spec = _find_top_level(package)
    return spec is not None and spec.origin is not None


def _find_top_level(package: str):
    try:
        return importlib.util.find_spec(package)
    except ValueError:  # a module without a spec, as some tests put into sys.modules
        return getattr(sys.modules.get(package), "__spec__", None)


def _is_bare_folder(package: str) -> bool:
    # A folder of clips called `clip` in the working directory imports as a namespace package.
    return getattr(sys.modules.get(package), "__file__", None) is None


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


_RECORD = "_vsr_plugin_absence"
_IN_THIS_THREAD = threading.local()
_made: dict[tuple[Absence, str], StandIn] = {}


class StandIn(ABCMeta):  # ABCMeta because mmengine's modules, with which MMagic mixes bases, are of it
    """Type of all stand-ins, which are classes that MMagic can inherit from, annotate with and test against.

    They are silent while MMagic's modules are being imported, and raise as soon as somebody calls one, or a class
    derived from it, afterwards.

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
