"""What there is, as a table; what was prepared and how, as `manifest.json` and the lists that `ClipDataset` reads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vsr_plugin import __version__
from vsr_plugin.data.preparation.checks import SCALE, Findings
from vsr_plugin.data.preparation.products import PACKED, Product
from vsr_plugin.data.preparation.sets import SPLITS, Layout, Tree
from vsr_plugin.errors import DataError, MediaError
from vsr_plugin.files import write_text

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


MANIFEST = "manifest.json"
_FORMAT = 1
_CUT = f"ground truth is cut at the bottom and right to multiples of {SCALE} first"

#: How LR frames are made, for whoever wants to know later.
PARAMETERS = {
    "BI": {
        "method": "bicubic, antialiased, as MATLAB's imresize",
        "a": -0.5,
        "border": "mirrored with the edge repeated",
        "scale": SCALE,
        "rounding": "half up, once, at the end",
        "size": _CUT,
    },
    "BD": {
        "method": "Gaussian blur centred on the LR pixel, as BD_degradation.m of the paper's authors",
        "sigma": 1.6,
        "taps": 12,
        "border": "edge pixel repeated",
        "scale": SCALE,
        "rounding": "half up, once, at the end",
        "size": _CUT,
    },
}


@dataclass
class Manifest:
    """The record of a prepared set; grows over several runs with one ``out``.

    Args:
        out: the folder of everything that is made, where the record lies.
        content: what is written as JSON.
    """

    out: Path
    content: dict

    @classmethod
    def open(cls, out: Path, *, set_name: str, root: Path) -> Manifest:
        """Go on with the record that is there, or begin one.

        Raises:
            DataError: it is of another set, of another version, or no manifest.
        """
        path = out / MANIFEST
        fresh = {
            "format": _FORMAT,
            "made_by": f"vsr_plugin {__version__}",
            "set": set_name,
            "root": os.fspath(root.resolve()),
            "degradations": {},
            "trees": {},
            "clips": {},
        }
        if not path.is_file():
            return cls(out, fresh)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            other = {key: content[key] for key in ("format", "set", "root") if content[key] != fresh[key]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: is not a manifest that can be read; remove it or choose another --out") from error
        if other:
            said = ", ".join(f"{key} {value}" for key, value in other.items())
            raise DataError(f"{path}: is of {said}, not of {set_name} in {root}; choose another --out")
        return cls(out, content | {"made_by": fresh["made_by"]})

    def describe(self, origins: Mapping[str, str], trees: Iterable[Tree]) -> None:
        """Record by degradation if LR frames were ``'made'`` or ``'found'``, and in which of the trees' folders."""
        trees = list(trees)
        degradations = self.content["degradations"]
        for degradation, origin in origins.items():
            # What an earlier run made and put into the root is found by this one.
            if origin == "made" or degradations.get(degradation, {}).get("origin") != "made":
                folders = [tree.lr[degradation] for tree in trees if degradation in tree.lr]
                known = PARAMETERS[degradation] if origin == "made" else {"folders": folders}
                degradations[degradation] = {"origin": origin, **known}

    def add(self, findings: Findings, products: Mapping[str, Product]) -> None:
        """Record a clip and the versions of it that are made."""
        clip = findings.clip
        before = self.content["clips"].get(clip.name, {})
        files = {folder: product.path.relative_to(self.out).as_posix() for folder, product in products.items()}
        self.content["clips"][clip.name] = {
            "split": clip.split,
            "source": f"{clip.tree.gt}/{clip.gt.name}",
            "frames": findings.frames,
            "height": findings.height,
            "width": findings.width,
            "files": before.get("files", {}) | files,
        }

    def write(self, findings: Iterable[Findings], *, packed: bool) -> dict[str, int]:
        """Write the record, and a list of clips per split.

        The lists in ``out`` name clips as they are called in their own tree, one tree per list; those in the packed
        store name all clips of the split.

        Returns:
            How many clips of a split are in no list of ``out``, because they lie in a second tree.

        Raises:
            MediaError: a file cannot be written.
        """
        by_split: dict[str, list[Findings]] = {}
        for found in findings:
            by_split.setdefault(found.clip.split, []).append(found)
        left_out = {}
        for split, members in by_split.items():
            tree = members[0].clip.tree
            listed = [found for found in members if found.clip.tree == tree]
            self.content["trees"][split] = tree.gt
            left_out[split] = len(members) - len(listed)
            _write_list(self.out / f"{split}.txt", ((found.clip.gt.name, found, 1) for found in listed))
            if packed:
                _write_list(self.out / PACKED / f"{split}.txt", ((f.clip.name, f, SCALE) for f in members))
        _write(self.out / MANIFEST, json.dumps(self.content, indent=1, ensure_ascii=False) + "\n")
        return left_out


def _write_list(path: Path, lines: Iterable[tuple[str, Findings, int]]) -> None:
    def sizes(found: Findings, multiple: int) -> str:
        return f"({found.height // multiple * multiple},{found.width // multiple * multiple},3)"

    text = "".join(f"{name} {found.frames} {sizes(found, multiple)}\n" for name, found, multiple in lines)
    _write(path, text)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise MediaError(f"{path}: cannot be written ({error.strerror}); free space or choose another place") from error
