"""Run one of MMagic's own tools where MMagic would not import by itself."""

from __future__ import annotations

import argparse
import importlib.util
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from vsr_plugin.errors import VSRError


def tools_folder() -> Path:
    """Where MMagic's installation has its ``tools/``; nothing is imported.

    Raises:
        VSRError: MMagic is not installed, or without its tools.
    """
    spec = importlib.util.find_spec("mmagic")
    if spec is None or spec.origin is None:
        raise VSRError("MMagic is not installed; run: pip install --no-deps mmagic==1.2.0")
    package = Path(spec.origin).parent
    for folder in (package / ".mim" / "tools", package.parent / "tools"):
        if (folder / "train.py").is_file():
            return folder
    raise VSRError(f"{package}: this MMagic has no tools; reinstall it: pip install --no-deps mmagic==1.2.0")


def run_mmagic_tool(name: str, arguments: Sequence[str]) -> None:
    """Run one of MMagic's tools, unmodified, as the program of this process.

    Args:
        name: ``'train'``, ``'test'``, or another file of its ``tools/``, such as ``'analysis_tools/print_config'``.
        arguments: the tool's command line.

    Raises:
        VSRError: there is no such tool.
        SystemExit: from the tool.
    """
    folder = tools_folder()
    tool = folder / f"{name.removesuffix('.py')}.py"
    if not tool.is_file():
        there = ", ".join(sorted(path.stem for path in folder.glob("*.py")))
        raise VSRError(f"MMagic has no tool {name!r}; it has {there}, and more in folders of {folder}")
    sys.argv = [str(tool), *arguments]
    # As Python does for a script: its neighbours can be imported.
    sys.path.insert(0, str(tool.parent))
    runpy.run_path(str(tool), run_name="__main__")


def parse_args(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("tool", help="train, test, or another file of MMagic's tools/")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the tool's arguments")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = parse_args(arguments, prog)
    run_mmagic_tool(args.tool, args.arguments)
