"""The table of what is there, split by split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vsr_plugin.data.preparation.checks import Findings
from vsr_plugin.data.preparation.layouts import SPLITS, Layout

_TITLES = ("split", "clips", "frames", "size", "LR", "missing")


def describe(
    layout: Layout, findings: Sequence[Findings], origins: Mapping[str, str], splits: Sequence[str] = SPLITS
) -> str:
    """One line per split: clips, frames, size of a frame, LR versions that are there, and what is missing."""
    rows = [_TITLES]
    for split in splits:
        members = [found for found in findings if found.clip.split == split]
        if members or any(layout.split_of(name) == split for name in layout.published):
            rows.append(
                (
                    split,
                    str(len(members)),
                    str(sum(found.frames for found in members)),
                    _sizes(members),
                    _lr(members, origins),
                    _missing(layout, split, members),
                )
            )
    widths = [max(len(row[i]) for row in rows) for i in range(len(_TITLES) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    )


def _sizes(members: Sequence[Findings]) -> str:
    sizes = sorted({(found.width, found.height) for found in members if found.frames}, reverse=True)
    if not sizes:
        return "-"
    largest = f"{sizes[0][0]}x{sizes[0][1]}"
    return largest if len(sizes) == 1 else f"{len(sizes)} sizes up to {largest}"


def _lr(members: Sequence[Findings], origins: Mapping[str, str]) -> str:
    known = sorted({degradation for found in members for degradation in found.clip.lr} | set(origins))
    cells = []
    for degradation in known:
        there = sum(degradation in found.clip.lr for found in members)
        cell = f"{degradation} of {there if there < len(members) else 'all'}" if there else degradation
        cells.append(f"{cell}, to be made" if origins.get(degradation) == "made" else cell)
    return "; ".join(cells) or "-"


def _missing(layout: Layout, split: str, members: Sequence[Findings]) -> str:
    there = {found.clip.name for found in members}
    absent = [name for name in layout.published if layout.split_of(name) == split and name not in there]
    lines = [f"{_count(absent)} of the published clips"] if absent else []
    short = [
        found.clip.name for found in members if found.frames and found.frames < (layout.frames_of(found.clip.name) or 0)
    ]
    if short:
        lines.append(f"frames at the end of {_count(short)}")
    return "; ".join(lines) or "-"


def _count(names: Sequence[str], limit: int = 3) -> str:
    rest = len(names) - limit
    return f"{len(names)} ({', '.join(names[:limit])}{f' and {rest} more' if rest > 0 else ''})"
