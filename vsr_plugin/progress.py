"""Progress bars with an estimate of the time left, for people and as lines for programs."""

import json
import os
import sys

from tqdm import tqdm


def frame_progress(total: int | None, kind: str = "bar") -> tqdm:
    """Progress in frames with an estimate of the time left; ``update`` takes fractions of frames.

    Args:
        total: number of frames, if it is known.
        kind: one of :data:`vsr_plugin.defaults.PROGRESS`: a bar on standard error, or lines of :func:`print_record`
            with ``pid``, ``frames`` that are done, ``of`` how many, ``rate`` in frames a second and ``seconds_left``;
            what is not known yet is ``null``.
    """
    return _progress(total, "frame", _Lines if kind == "json" else _Bar)


def print_record(**values: object) -> None:
    """Print a line for a program: a JSON object and nothing else, on standard output and at once."""
    print(json.dumps(values), flush=True)


def read_record(line: str) -> dict[str, object] | None:
    """What :func:`print_record` has printed, or ``None`` for a line that was printed for a person."""
    try:
        return json.loads(line) if line.startswith("{") else None
    except json.JSONDecodeError:
        return None


def clip_progress(total: int) -> tqdm:
    """Progress bar in clips with an estimate of the time left; ``update`` takes fractions of clips."""
    return _progress(total, "clip")


def part_progress(total: int) -> tqdm:
    """Progress bar in parts of a study with an estimate of the time left; ``update`` takes fractions of parts."""
    return _progress(total, "part")


class _Bar(tqdm):
    """Measures from the first update on: how long loading and compiling took says nothing of the rest."""

    _begun = False

    def update(self, n: float = 1) -> bool | None:
        """Move by so many units."""
        shown = super().update(n)
        if not self._begun and n > 0 and not self.disable:
            self._begun, done = True, self.n
            self.reset()
            self.n = self.initial = self.last_print_n = done
            self.refresh()
        return shown


class _Lines(_Bar):
    """A line for a program wherever a bar would be drawn."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **{**kwargs, "file": sys.stdout, "mininterval": 0.5})

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Print the line."""
        now = self.format_dict
        rate = now["rate"] or (self.n - self.initial) / now["elapsed"] if now["elapsed"] else None
        left = (self.total - self.n) / rate if self.total and rate else None
        print_record(pid=os.getpid(), frames=self.n, of=self.total, rate=rate or None, seconds_left=left)

    def clear(self, nolock: bool = False) -> None:
        """A line that stands is not taken back."""

    def close(self) -> None:
        """Print the last line."""
        if not self.disable:
            self.refresh()
        self.leave, self.display = False, lambda *args, **kwargs: None
        super().close()


def _progress(total: int | None, unit: str, kind: type[_Bar] = _Bar) -> tqdm:
    bar = "{desc}{percentage:3.0f}%|{bar}| " if total else ""
    return kind(
        total=total,
        unit=unit,
        bar_format=bar + f"{{n:.1f}}/{{total_fmt}} {unit}s [{{elapsed}}<{{remaining}}, {{rate_fmt}}]",
        dynamic_ncols=True,
        # A log file is not to fill with bars.
        mininterval=0.5 if sys.stderr.isatty() else 15,
        # Else a whole part that was there already would make the bar wait for updates as large as that.
        miniters=0,
    )
