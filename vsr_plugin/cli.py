"""What the command-line tools share: one-line errors, exit statuses, clean interruption, progress."""

import argparse
import signal
import sys
from collections.abc import Callable

import torch
from tqdm import tqdm

from vsr_plugin.errors import VSRError, advice

_NOTHING_WRITTEN = "nothing was written under the final name"


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, except where there is none to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def run_command(main: Callable[[], int | None]) -> int:
    """Run a tool's main function and turn what can go wrong into one line and an exit status.

    Returns:
        The status of ``main``; 1 for an error of the input, 130 for Ctrl-C, 143 for a termination signal.
    """
    # A termination signal unwinds like Ctrl-C, so that files in progress are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return main() or 0
    except VSRError as error:
        _complain(f"error: {error}", error)
        return 1
    except SystemExit as stop:
        if stop.code == 143:
            _complain("terminated", stop, otherwise=_NOTHING_WRITTEN)
        raise
    except torch.cuda.OutOfMemoryError:
        print("error: the GPU is out of memory; use a smaller --window, or --device cpu", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        _complain("interrupted", error, otherwise=_NOTHING_WRITTEN)
        return 130


def _complain(text: str, error: BaseException, otherwise: str = "") -> None:
    """Print one line on what stopped the work, and on how to go on if there is a way."""
    way_on = advice(error) or otherwise
    print(f"{text}; {way_on}" if way_on else text, file=sys.stderr)


def pick_device(name: str) -> torch.device:
    """The device called ``name``; for ``'auto'`` a GPU if there is one that works.

    Raises:
        VSRError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise VSRError(f"device {name!r} cannot be used here ({reason}); use cpu, cuda, cuda:N or auto") from error
    return device


def frame_progress(total: int | None) -> tqdm:
    """Progress bar in frames with an estimate of the time left; ``update`` takes fractions of frames."""
    bar = "{percentage:3.0f}%|{bar}| " if total else ""
    return tqdm(
        total=total,
        unit="frame",
        bar_format=bar + "{n:.1f}/{total_fmt} frames [{elapsed}<{remaining}, {rate_fmt}]",
        dynamic_ncols=True,
        # A log file is not to fill with bars.
        mininterval=0.5 if sys.stderr.isatty() else 15,
    )


def count_progress(total: int, unit: str) -> tqdm:
    """Progress bar in whole things, with an estimate of the time left."""
    return tqdm(total=total, unit=unit, dynamic_ncols=True, mininterval=0.5 if sys.stderr.isatty() else 15)
