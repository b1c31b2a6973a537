"""What the command-line tools share: one-line errors, exit statuses, clean interruption."""

import argparse
import signal
import sys
from collections.abc import Callable

import torch

from vsr_plugin.errors import VSRError, hint_of


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, except where there is none to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


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
    except torch.cuda.OutOfMemoryError:
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
