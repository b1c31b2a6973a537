"""``python -m vsr_plugin`` and the console entry ``vsr-plugin``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from vsr_plugin.errors import VSRError
from vsr_plugin.mmagic_host.mmagic_tools import run_mmagic_tool


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(prog="vsr-plugin", description="BasicVSR and IconVSR for MMagic.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("env", help="show versions, devices, weights, and conflicts with their cure")
    mmagic = commands.add_parser("mmagic", help="run one of MMagic's own tools where MMagic would not import by itself")
    mmagic.add_argument("tool", help="train, test, or another file of MMagic's tools/")
    mmagic.add_argument("arguments", nargs=argparse.REMAINDER, help="the tool's arguments")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Args:
        arguments: What stands after the program's name; by default the command line's.

    Returns:
        0, or 1 where the environment or the input does not allow what was asked.

    Raises:
        SystemExit: If the arguments are wrong, or with ``--help``.
    """
    args = build_parser().parse_args(arguments)
    try:
        if args.command == "mmagic":
            run_mmagic_tool(args.tool, args.arguments)
            return 0
        return _show_environment()
    except VSRError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _show_environment() -> int:
    from vsr_plugin.cli import environment

    here = environment.collect()
    print(environment.describe(here))
    return 0 if here.usable else 1


if __name__ == "__main__":
    sys.exit(main())
