"""``python -m vsr_plugin`` and the console entry ``vsr-plugin``."""

import argparse
import sys
from collections.abc import Sequence

from vsr_plugin import __version__
from vsr_plugin.cli.command import run

#: Modules of :mod:`vsr_plugin.cli`, each imported when its command is run.
COMMANDS = {
    "restore": "upscale a video or a folder of images",
    "app": "open a page in the browser: previews, estimates, a queue of jobs",
    "train": "train an experiment, by the name of its config",
    "test": "score weights on the test sets of an experiment",
    "prepare": "make a data set ready for training",
    "study": "run studies of the paper",
    "picture": "draw what a network does with a clip",
    "benchmark": "measure speed, memory and quality",
    "export": "export a network as ONNX model",
    "env": "show versions, devices, weights, and conflicts with their cure",
    "mmagic": "run one of MMagic's own tools where MMagic would not import by itself",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Args:
        arguments: What stands after the program's name; by default the command line's.

    Returns:
        0, or 1 where the environment or the input does not allow what was asked.

    Raises:
        SystemExit: If the arguments are wrong, or with ``--help``.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    listed = "\n".join(f"  {name:12}{words}" for name, words in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="vsr-plugin",
        description="BasicVSR, IconVSR, BasicVSR++ and RealBasicVSR for MMagic.",
        epilog=f"commands:\n{listed}\n\nvsr-plugin COMMAND --help says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [-h] [--version] COMMAND ...",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    name = parser.parse_args(arguments[:1]).command
    return run(name, arguments[1:], f"vsr-plugin {name}")


if __name__ == "__main__":
    sys.exit(main())
