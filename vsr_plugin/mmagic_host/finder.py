"""The ``import`` statement as MMagic's modules see it.

CPython takes ``__import__`` from the builtins of the running frame, and a frame takes its builtins
from its module's ``__builtins__``. So a module whose ``__builtins__`` was set before its code ran
has an ``import`` of its own, in its functions too, and no other module notices.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import importlib
import io
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from vsr_plugin.mmagic_host.packages import COMPILED_OPS, Absence, absence_from_error, listed_package, silent, stand_in
from vsr_plugin.mmagic_host.resume import allow_resume

HOSTED = "mmagic"

_CATCHES_IMPORT_ERROR = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}

# A broken package is not tried twice: its first attempt leaves operators registered in PyTorch.
_broken: dict[str, Absence] = {}


def install() -> None:
    """Give MMagic's modules their own ``import`` from here on; a second call does nothing.

    Modules of MMagic that were imported before stay as they are. Where nothing is absent, their
    imports all succeed and the rest of this module never runs.
    """
    if not any(isinstance(finder, HostFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, HostFinder())
    if "mmengine" in sys.modules:
        allow_resume()


class HostFinder:
    """Finds MMagic's modules where everybody else finds them, and wraps their loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer for ``mmagic`` and ``mmagic.*`` only."""
        if fullname.partition(".")[0] != HOSTED:
            return None
        # All other finders are asked, since an editable installation brings its own.
        for finder in [f for f in sys.meta_path if not isinstance(f, HostFinder)]:
            spec = finder.find_spec(fullname, path, target) if hasattr(finder, "find_spec") else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = HostLoader(spec.loader)
                return spec
        return None


class HostLoader:
    """A loader as it is, except that the module's ``__builtins__`` are set before its code runs."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # while being unpickled or copied
            raise AttributeError(name)
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = _hosted_builtins()
        with silent():
            self._loader.exec_module(module)
        if module.__name__ == HOSTED and "mmengine" in sys.modules:  # MMagic has just imported it
            allow_resume()


@functools.cache
def _hosted_builtins() -> dict[str, Any]:
    return {**vars(builtins), "__import__": _hosted_import}


def _hosted_import(
    name: str,
    globals: Mapping[str, Any] | None = None,
    locals: Mapping[str, Any] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> Any:
    def really() -> ModuleType:
        return builtins.__import__(name, globals, locals, fromlist, level)

    importer = (globals or {}).get("__name__")
    package = listed_package(name) if level == 0 else None
    if package is None:
        return _adapted(really(), name, importer) if level == 0 else really()
    module, absence, error = _real_or_absence(package, really)
    if absence is None:
        return module
    # Where MMagic has its own way without the package, that way is taken.
    if _has_fallback(globals, sys._getframe(1).f_lineno):
        raise ImportError(absence.explain(str(importer)), name=package) from error
    if fromlist:
        return _stand_in_module(absence, name)
    # `import a.b` binds `a`; the parent of mmcv.ops is real.
    return sys.modules["mmcv"] if package == COMPILED_OPS else _stand_in_module(absence, package)


def _hosted_import_module(name: str, package: str | None = None) -> Any:
    listed = listed_package(name)
    if listed is None:
        return importlib.import_module(name, package)
    module, absence, _ = _real_or_absence(listed, lambda: importlib.import_module(name))
    return module if absence is None else _stand_in_module(absence, name)


def _real_or_absence(
    package: str, really: Callable[[], ModuleType]
) -> tuple[ModuleType | None, Absence | None, Exception | None]:
    if package in _broken:
        return None, _broken[package], None
    try:
        return really(), None, None
    except Exception as error:
        absence = absence_from_error(package, error)
        if absence is None:
            raise
        if absence.reason:
            _broken[package] = absence
        return None, absence, error


def _stand_in_module(absence: Absence, name: str) -> Any:
    contents: dict[str, Any] = {}
    if absence.package == COMPILED_OPS:
        from vsr_plugin.mmagic_host import mmcv_ops  # imports PyTorch, as MMagic has by now

        contents = {public: getattr(mmcv_ops, public) for public in mmcv_ops.__all__}
    top = stand_in(absence, absence.package, **contents)
    return functools.reduce(getattr, name[len(absence.package) :].split(".")[1:], top)


def _has_fallback(module_globals: Mapping[str, Any] | None, line: int) -> bool:
    """Whether the import at `line` stands in a ``try`` that goes on without the package."""
    loader = (module_globals or {}).get("__loader__")
    if not isinstance(loader, HostLoader):
        return False
    return line in _fallback_lines(loader, module_globals["__name__"])


@functools.cache
def _fallback_lines(loader: HostLoader, name: str) -> frozenset[int]:
    source = loader.get_source(name)
    return frozenset(_imports_with_fallback(ast.parse(source))) if source else frozenset()


def _imports_with_fallback(node: ast.AST, fallback: bool = False) -> Iterator[int]:
    if isinstance(node, (ast.Import, ast.ImportFrom)) and fallback:
        yield node.lineno
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        fallback = False  # its body runs later, outside the `try` around the definition
    for child in ast.iter_child_nodes(node):
        tried = isinstance(node, ast.Try) and child in node.body
        caught = tried and any(_goes_on_without(handler) for handler in node.handlers)
        yield from _imports_with_fallback(child, fallback or caught)


def _goes_on_without(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    names = {n.id for n in ast.walk(caught) if isinstance(n, ast.Name)} if caught else _CATCHES_IMPORT_ERROR
    return bool(names & _CATCHES_IMPORT_ERROR) and not all(_only_gives_up(step) for step in handler.body)


def _only_gives_up(step: ast.stmt) -> bool:
    """Whether a step of a handler does nothing but raise, print, or set the name to None.

    A stand-in serves better than these: it names the package when it is used, where MMagic would
    raise "'NoneType' object is not callable" or, in `CLIPLoss`, a string.
    """
    if isinstance(step, ast.Assign):
        return isinstance(step.value, ast.Constant) and step.value.value is None
    if isinstance(step, ast.Expr) and isinstance(step.value, ast.Call):
        return getattr(step.value.func, "id", None) == "print"
    return isinstance(step, (ast.Raise, ast.Pass))


class _Facade(ModuleType):
    """A module with a few names of its own in front of it, for one importer."""

    def __init__(self, module: ModuleType, **names: Any) -> None:
        super().__init__(module.__name__, module.__doc__)
        self.__dict__.update(names)
        self.__dict__["_module"] = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def __dir__(self) -> list[str]:
        return dir(self._module)


def _adapted(module: ModuleType, name: str, importer: str | None) -> ModuleType:
    """Return a real module as the one module of MMagic that cannot take it as it is needs it."""
    if (importer, name) == ("mmagic.utils.trans_utils", "numpy"):
        if int(module.__version__.partition(".")[0]) >= 2:
            return _Facade(module, bool8=module.bool_)
    # Its `try_import` gives None for an absent package, and `mmagic.models.archs` then fails on it.
    elif (importer, name) == ("mmagic.utils.setup_env", "importlib"):
        return _Facade(module, import_module=_hosted_import_module)
    return module


# Standard output is one for all threads: two that replaced it at once could leave it replaced.
_alone = threading.RLock()


def import_quietly(module: str) -> ModuleType:
    """Import a module and swallow its output and warnings; errors pass.

    MMagic prints a line on standard output about the compiled operators that its StyleGAN would use.
    """
    if module in sys.modules:
        return importlib.import_module(module)
    with _alone, contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)
