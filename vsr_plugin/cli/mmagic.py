"""Run one of MMagic's own tools where MMagic would not import by itself."""

import argparse
from collections.abc import Sequence

from vsr_plugin.mmagic_host.mmagic_tools import run_mmagic_tool


def parse_args(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("tool", help="train, test, or another file of MMagic's tools/")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the tool's arguments")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = parse_args(arguments, prog)
    run_mmagic_tool(args.tool, args.arguments)
