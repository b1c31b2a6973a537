"""Importing MMagic without what it prints about parts that are of no concern."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import threading
import warnings
from types import ModuleType

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
