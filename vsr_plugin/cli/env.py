"""Show versions, devices, weights, and conflicts with their cure."""

import argparse
from collections.abc import Sequence

from vsr_plugin.cli import environment


def parse_args(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    return argparse.ArgumentParser(prog=prog, description=__doc__).parse_args(arguments)


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    parse_args(arguments, prog)
    here = environment.collect()
    print(environment.describe(here))
    return 0 if here.usable else 1
