"""Progress bars with an estimate of the time left."""

import sys

from tqdm import tqdm


def frame_progress(total: int | None) -> tqdm:
    """Progress bar in frames with an estimate of the time left; ``update`` takes fractions of frames."""
    return _progress(total, "frame")


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


def _progress(total: int | None, unit: str) -> tqdm:
    bar = "{desc}{percentage:3.0f}%|{bar}| " if total else ""
    return _Bar(
        total=total,
        unit=unit,
        bar_format=bar + f"{{n:.1f}}/{{total_fmt}} {unit}s [{{elapsed}}<{{remaining}}, {{rate_fmt}}]",
        dynamic_ncols=True,
        # A log file is not to fill with bars.
        mininterval=0.5 if sys.stderr.isatty() else 15,
        # Else a whole part that was there already would make the bar wait for updates as large as that.
        miniters=0,
    )
