"""Run a study: measure what was not measured before, and write the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vsr_plugin.studies.records import PartRecords
from vsr_plugin.studies.report_files import write_report
from vsr_plugin.studies.study import Part, Report, Study


@dataclass(frozen=True)
class Outcome:
    """A finished study.

    Args:
        report: what came out.
        paths: files of the report.
        kept: parts that an earlier run had measured.
    """

    report: Report
    paths: list[Path]
    kept: int


class _PartProgress:
    """Passes on what a part tells of itself, up to the whole part."""

    def __init__(self, progress: Callable[[float], None]) -> None:
        self._progress, self._left = progress, 1.0

    def __call__(self, fraction: float) -> None:
        fraction = min(fraction, self._left)
        self._left -= fraction
        self._progress(fraction)


def run_study(
    study: Study,
    *,
    fresh: bool = False,
    on_begin: Callable[[int], None] = lambda count: None,
    on_part: Callable[[Part], None] = lambda part: None,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Outcome:
    """Measure the parts of a study and write its report into the study's folder.

    Every part is kept in ``FOLDER/parts`` as soon as it is measured; the next run with the same settings takes it
    from there.

    Args:
        study: what to run.
        fresh: measure everything again.
        on_begin: called with the number of parts that are to be measured.
        on_part: called before each of them.
        progress: called with the fraction of a part that was done since the last call.

    Raises:
        VSRError: an option cannot be used, or a part fails; what was measured before it is kept.
    """
    records = PartRecords(study.folder / "parts")
    parts = study.parts()
    known = [None if fresh else records.get(part.settings) for part in parts]
    on_begin(known.count(None))
    results = []
    for part, result in zip(parts, known, strict=True):
        if result is None:
            on_part(part)
            tell = _PartProgress(progress)
            result = study.measure(part, tell)
            records.put(part.settings, result)
            tell(1.0)  # whatever the part has told of itself
        results.append((part, result))
    report = study.report(results)
    return Outcome(report, write_report(study, report, results, study.folder), len(known) - known.count(None))
