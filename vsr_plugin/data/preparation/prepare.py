"""Preparing a set from its check to its manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vsr_plugin.data.clips.packed import check_space
from vsr_plugin.data.preparation.checks import Findings, examine, find_leaks
from vsr_plugin.data.preparation.processes import Processes
from vsr_plugin.data.preparation.products import Product, Request, lr_origins, make, plan
from vsr_plugin.data.preparation.records import Manifest, describe
from vsr_plugin.data.preparation.sets import LAYOUTS, SPLITS, Layout, SetClip, list_clips
from vsr_plugin.errors import DataError, MediaError, VSRError, give_hint
from vsr_plugin.files import locked

_MANY = 20
#: What a person can do after a run that did not end.
HINT = "clips that are done are kept; the same command goes on from there"


class Bar(Protocol):
    """A progress display, such as tqdm's."""

    def update(self, done: int) -> None:
        """Count what is done."""

    def close(self) -> None:
        """End the display."""


def prepare(
    set_name: str,
    root: Path,
    request: Request,
    *,
    splits: Sequence[str] = SPLITS,
    held_out: Mapping[str, Sequence[str]] | None = None,
    workers: int = 1,
    check_only: bool = False,
    report: Callable[[str], None] = print,
    progress: Callable[[int, str], Bar] | None = None,
) -> None:
    """Check a set, make LR frames and packed clips of it, and record that.

    Args:
        set_name: one of :data:`LAYOUTS`.
        root: where the set lies; nothing there is changed.
        request: what to make, and where.
        splits: the splits to take.
        held_out: names of clips of one's own that validate or test, by split.
        workers: number of processes.
        check_only: write nothing.
        report: is given lines for a person.
        progress: opens a display for a number of ``'clip'`` or ``'frame'``.

    Raises:
        DataError: clips are missing, damaged, do not fit together, or train and test at once.
        MediaError: the disk is full.
    """
    clips = list_clips(set_name, root, splits, held_out or {})
    _check_place(request.out, root, clips)
    layout = LAYOUTS[set_name]
    with Processes(workers) as processes:
        display = _Display(report, progress or (lambda total, unit: _NoBar()), processes)
        findings = display.examine(clips)
        origins = lr_origins(findings, request)
        report(describe(layout, findings, origins, splits))
        _complain(findings, layout, report)
        if check_only:
            return
        with _locked(request.out):
            manifest = Manifest.open(request.out, set_name=set_name, root=root)
            plans = {found.clip.name: plan(found, request, origins) for found in findings}
            try:
                display.make(list(plans.values()), request.out)
            except VSRError as error:
                give_hint(error, HINT)
                raise
            manifest.describe(origins, {clip.tree.gt: clip.tree for clip in clips}.values())
            for found in findings:
                manifest.add(found, plans[found.clip.name])
            left_out = manifest.write(findings, packed=request.pack)
    for split, count in left_out.items():
        if count:
            report(
                f"{count} clips of {split} lie in a second folder and are not in {request.out}/{split}.txt; "
                "pack the set to have them all in one place"
            )
    report(f"done: see {request.out / 'manifest.json'}")


class _NoBar:
    def update(self, done: int) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class _Display:
    """Does the work where a person can see how far it is."""

    report: Callable[[str], None]
    bars: Callable[[int, str], Bar]
    processes: Processes

    def examine(self, clips: Sequence[SetClip]) -> list[Findings]:
        """Look at all clips, in their order."""
        with closing(self.bars(len(clips), "clip")) as bar:
            found = {f.clip.name: f for f in self.processes.map(examine, clips, bar.update)}
        return [found[clip.name] for clip in clips]

    def make(self, plans: Sequence[Mapping[str, Product]], out: Path) -> None:
        """Make what is not there yet."""
        jobs = [list(products.values()) for products in plans if products]
        missing = [product for products in jobs for product in products if not product.is_made()]
        if not missing:
            self.report("everything is there already" if jobs else "nothing is to be made")
            return
        needed = sum(product.max_bytes for product in missing)
        bound = "" if all(product.packed for product in missing) else "up to "
        self.report(f"to be made: {len(missing)} clips in {out}, {bound}{needed / 1e9:.2f} GB")
        check_space(out, needed)
        frames = sum(source.num_frames for products in jobs for source in {p.source: None for p in products})
        with closing(self.bars(frames, "frame")) as bar:
            for _ in self.processes.map(make, jobs, bar.update):
                pass


def _check_place(out: Path, root: Path, clips: Sequence[SetClip]) -> None:
    inside = out.resolve().is_relative_to(root.resolve())
    if inside and any(clip.tree.gt == "." for clip in clips):
        raise DataError(
            f"{out}: lies inside the folder of clips, where it would be taken for clips; choose another --out"
        )


def _complain(findings: Sequence[Findings], layout: Layout, report: Callable[[str], None]) -> None:
    faults = [fault for found in findings for fault in found.faults]
    leaks = find_leaks(findings)
    if layout.lists:
        # The protocol of the paper is these lists, whatever they hold; nobody has looked at all 91701 clips of them.
        _list([f"note: {leak}, unless the lists are as they were published" for leak in leaks], report)
    else:
        faults += leaks
    if not faults:
        return
    _list(faults, report)
    raise DataError(f"{len(faults)} faults in {len(findings)} clips, see above; mend or remove those clips")


def _list(lines: Sequence[str], report: Callable[[str], None]) -> None:
    for line in lines[:_MANY]:
        report(line)
    if len(lines) > _MANY:
        report(f"and {len(lines) - _MANY} more")


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Keep other runs out of a folder, which is made."""
    with ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(out))
        except BlockingIOError as error:
            raise DataError(f"{out}: another run is at work there; wait for it or stop it") from error
        except OSError as error:
            raise MediaError(f"{out}: cannot be made ({error.strerror}); choose another --out") from error
        yield
