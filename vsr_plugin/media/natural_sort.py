"""The order in which people number files: frame2 before frame10."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"(\d+)", re.ASCII)


def natural_key(name: str) -> tuple:
    """Return a sort key that compares runs of digits as numbers and the rest without case.

    Names that differ only in case or in leading zeros fall back to their plain spelling, so the
    order is the same on every run.

    Example:
        >>> sorted(['f10', 'f9', 'F1'], key=natural_key)
        ['F1', 'f9', 'f10']
    """
    # split() alternates text, digits, text, ...: equal positions always hold equal types.
    parts = _DIGITS.split(name.casefold())
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), name
