"""Progress bars with an estimate of the time left, for people and as lines for programs."""

import io
import json
import os
import sys
import threading
from collections import Counter

from tqdm import tqdm


def frame_progress(total: int | None, kind: str = "bar", name: str | None = None) -> tqdm:
    """Progress in frames with an estimate of the time left; ``update`` takes fractions of frames.

    Args:
        total: number of frames, if it is known.
        kind: one of :data:`vsr_plugin.defaults.PROGRESS`: a bar on standard error, or lines of :func:`print_record`
            with ``pid``, ``frames`` that are done, ``of`` how many, ``rate`` in frames a second and ``seconds_left``;
            what is not known yet is ``null``.
        name: of what it is, where there are several; then it goes when it is done.
    """
    return _progress(total, "frame", _Lines if kind == "json" else _Bar, name)


class SeveralProgress:
    """A bar over several inputs, in ``with``; those that were not opened yet count as long as the others on average.

    Args:
        count: of the inputs.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._frames: dict[str, int] = {}
        self._done: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.bar = _progress(None, "frame", _Bar, f"all {count}", stays=True)

    def __enter__(self) -> "SeveralProgress":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.bar.close()

    def expect(self, name: str, frames: int | None) -> None:
        """Take note of an input that has so many frames to do, if it says how many."""
        with self._lock:
            if frames is not None:
                self._frames[name] = frames
            self._count_all()

    def update(self, name: str, frames: float) -> None:
        """Count frames of an input that are done; negative ones take some back."""
        with self._lock:
            self._done[name] += frames
            self.bar.update(frames)

    def leave_out(self, name: str) -> None:
        """Forget an input that cannot be restored."""
        with self._lock:
            self._count -= 1
            self._frames.pop(name, None)
            self.bar.update(-self._done.pop(name, 0))
            self._count_all()

    def _count_all(self) -> None:
        if any(self._frames.values()):
            self.bar.total = round(sum(self._frames.values()) / len(self._frames) * self._count)
            self.bar.bar_format = _BAR + _REST.format(unit="frame")


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
    """Measures from the first update on: how long loading and compiling took says nothing of the rest.

    In a log file, which takes nothing back, it is a line now and then.
    """

    _begun, _logged = False, 0.0

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the bar, or print a line where there is more than in the last."""
        if self.fp.isatty():
            super().display(msg, pos)
        elif msg is None and self._begun and self.n not in (0, self._logged):
            self._logged = self.n
            print(self, file=self.fp)

    def clear(self, nolock: bool = False) -> None:
        """Take a bar back, but no line."""
        if self.fp.isatty():
            super().clear(nolock)

    def close(self) -> None:
        """Draw the end of the bar, or print the last line."""
        if not self.disable and not self.fp.isatty():
            self.refresh()
            self.fp = io.StringIO()  # for what moves a cursor
        super().close()

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


_BAR = "{desc}{percentage:3.0f}%|{bar}| "
_REST = "{{n:.1f}}/{{total_fmt}} {unit}s [{{elapsed}}<{{remaining}}, {{rate_fmt}}]"


def _progress(
    total: int | None, unit: str, kind: type[_Bar] = _Bar, name: str | None = None, *, stays: bool = False
) -> tqdm:
    return kind(
        total=total,
        desc=name and f"{name}: ",
        leave=stays or name is None,
        unit=unit,
        bar_format=(_BAR if total else "{desc}" if name else "") + _REST.format(unit=unit),
        dynamic_ncols=True,
        # A log file is not to fill with bars.
        mininterval=0.5 if sys.stderr.isatty() else 15,
        # Else a whole part that was there already would make the bar wait for updates as large as that.
        miniters=0,
    )
