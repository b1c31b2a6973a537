"""Measure against MMagic: `speed`, `train`, `data`.

Ours alone: `profile`, `film`, `cluster`, and all that a GPU is to be asked by one call, `gpu-report`; in dB `windows`
(their cost), `drift`, `sizes`, `interlaced`, `footage`.
"""

import argparse
from collections.abc import Sequence
from functools import partial

from vsr_plugin.cli.benchmark import against_mmagic, quality, whole
from vsr_plugin.cli.command import HelpFormatter


def parse_args(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    with_defaults = partial(argparse.ArgumentParser, formatter_class=HelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=with_defaults)
    for group in (against_mmagic, whole, quality):
        group.add_commands(commands)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int | None:
    args = parse_args(arguments, prog)
    return args.run(args)
