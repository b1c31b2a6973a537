"""What the command-line tools share: one-line errors, exit statuses, clean interruption."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module

from vsr_plugin.errors import VSRError, hint_of


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, except where there is none to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False) or action.default is True:  # one that can only be turned off
            return action.help
        return super()._get_help_string(action)


def run(name: str, arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run a command, the ``main`` of the module of that name in this folder, and return its exit status.

    Args:
        name: of the module. Its ``MESSAGES``, if there are some, are keywords of :func:`run_command`.
        arguments: what stands after the command's name; by default the command line's.
        prog: how the command is called in its help; by default the script's name.
    """
    try:
        module = import_module(f"vsr_plugin.cli.{name}")
    except KeyboardInterrupt:  # some import PyTorch, which takes seconds
        print("interrupted before it began", file=sys.stderr)
        return 130
    return run_command(partial(module.main, arguments, prog), **getattr(module, "MESSAGES", {}))


def run_command(
    main: Callable[[], int | None],
    *,
    state: str = "nothing was written under the final name",
    save_memory: str = "use --tile, a smaller --memory-budget, or --device cpu",
) -> int:
    """Run a tool's main function and turn what can go wrong into one line and an exit status.

    Args:
        main: what to run.
        state: what an interruption leaves behind, for the message.
        save_memory: what to do when the GPU's memory does not suffice.

    Returns:
        The status of ``main``; 1 for an error of the input, 130 for Ctrl-C, 143 for a termination signal.
    """
    # A termination signal unwinds like Ctrl-C, so that files in progress are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return main() or 0
    except VSRError as error:
        print_error(error)
        return 1
    except SystemExit as stop:
        if stop.code == 143:
            _complain(f"terminated; {state}", stop)
        raise
    except RuntimeError as error:
        # Not imported for it, since commands that need no PyTorch start in a tenth of the time.
        if type(error).__name__ != "OutOfMemoryError":
            raise
        print(f"error: the GPU is out of memory; {save_memory}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        _complain(f"interrupted; {state}", error)
        return 130


def print_error(error: VSRError) -> None:
    """Print one line on what was wrong with the input, for a tool that goes on with others."""
    _complain(f"error: {error}", error)


def _complain(text: str, error: BaseException) -> None:
    """Print one line on what stopped the work, and on how to go on if there is a way."""
    hint = hint_of(error)
    # Written at once with its end, since processes that load data may have something to say just now.
    print(f"{text}; {hint}\n" if hint else f"{text}\n", end="", file=sys.stderr)
