"""Run a study: measure what was not measured before, keep it, and write the report."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vsr_plugin import shipped
from vsr_plugin.benchmarks.machine import describe_machine
from vsr_plugin.files import write_whole
from vsr_plugin.report import table_text
from vsr_plugin.studies.study import Part, Report, Study, Table
from vsr_plugin.visualization.figures import new_figure, save_figure


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


class PartProgress:
    """Passes on what a part tells of itself, up to the whole part."""

    def __init__(self, progress: Callable[[float], None]) -> None:
        self._progress, self._left = progress, 1.0

    def __call__(self, fraction: float) -> None:
        fraction = min(fraction, self._left)
        self._left -= fraction
        self._progress(fraction)


#: Measures parts of a study; see :func:`measure_here`.
Measure = Callable[
    [Study, Sequence[Part], Callable[[Part], None], Callable[[float], None], Callable[[Part, dict[str, Any]], None]],
    None,
]


def measure_here(
    study: Study,
    parts: Sequence[Part],
    on_part: Callable[[Part], None],
    progress: Callable[[float], None],
    keep: Callable[[Part, dict[str, Any]], None],
) -> None:
    """Measure parts one after the other in this process.

    Args:
        study: the study, whose ``parts`` was called.
        parts: those of them that are to be measured.
        on_part: called before each.
        progress: called with the fraction of a part that was done since the last call.
        keep: called with each part and its result.

    Raises:
        VSRError: a part fails.
    """
    for part in parts:
        on_part(part)
        tell = PartProgress(progress)
        keep(part, study.measure(part, tell))
        tell(1.0)  # whatever the part has told of itself


def run_study(
    study: Study,
    *,
    fresh: bool = False,
    on_begin: Callable[[int], None] = lambda count: None,
    on_part: Callable[[Part], None] = lambda part: None,
    progress: Callable[[float], None] = lambda fraction: None,
    measure: Measure = measure_here,
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
        measure: measures the parts, by default one after the other in this process.

    Raises:
        VSRError: an option cannot be used, or a part fails; what was measured before it is kept.
    """
    records = PartRecords(study.folder / "parts")
    parts = study.parts()
    known = [None if fresh else records.get(part.settings) for part in parts]
    on_begin(known.count(None))
    measured: dict[int, dict[str, Any]] = {}

    def keep(part: Part, result: dict[str, Any]) -> None:
        records.put(part.settings, result)
        measured[id(part)] = result

    missing = [part for part, result in zip(parts, known, strict=True) if result is None]
    measure(study, missing, on_part, progress, keep)
    results = [
        (part, measured[id(part)] if result is None else result) for part, result in zip(parts, known, strict=True)
    ]
    report = study.report(results)
    return Outcome(report, write_report(study, report, results, study.folder), len(known) - known.count(None))


class PartRecords:
    """Results by the settings that they were measured with.

    Args:
        folder: where the files are; made when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, settings: dict[str, Any]) -> dict[str, Any] | None:
        """What was measured with these settings; ``None`` if nothing was, or what is there is damaged."""
        try:
            kept = json.loads(self._path(settings).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return kept.get("result") if isinstance(kept, dict) and kept.get("settings") == settings else None

    def put(self, settings: dict[str, Any], result: dict[str, Any]) -> None:
        """Keep a result; both must be plain data that JSON gives back unchanged."""
        self._folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dict(settings=settings, result=result), indent=1)
        write_whole(self._path(settings), partial(Path.write_text, data=text, encoding="utf-8"))

    def _path(self, settings: dict[str, Any]) -> Path:
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return self._folder / f"{digest[:20]}.json"


def describe_run(device: str) -> dict[str, str]:
    """Machine, versions, date, and the commit where the package is in a checkout."""
    described = describe_machine(device, 0) | {"date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}
    described["load at the end"] = described.pop("load before")
    if checkout := shipped.checkout():  # and not a repository that an installed package happens to lie in
        command = ["git", "-C", os.fspath(checkout), "describe", "--always", "--dirty", "--abbrev=12"]
        with suppress(OSError):  # of a machine without git
            commit = subprocess.run(command, capture_output=True, text=True, check=False)
            if commit.returncode == 0:
                described["commit"] = commit.stdout.strip()
    return described


def markdown_table(table: Table) -> str:
    """The table in Markdown, numbers in the form of their column."""

    def cell(title: str, value: object) -> str:
        if value is None:
            return ""
        return format(value, table.forms.get(title, "")) if isinstance(value, int | float) else str(value)

    rows = ([cell(t, v) for t, v in zip(table.columns, row, strict=True)] for row in table.rows)
    return table_text(table.columns, rows)


def csv_table(table: Table, protocol: Sequence[str]) -> str:
    """The table as CSV, after comment lines that state the protocol."""
    text = io.StringIO()
    text.writelines(f"# {line}\n" for line in protocol)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([table.columns, *table.rows])
    return text.getvalue()


def markdown(study: Study, report: Report, run: dict[str, str]) -> str:
    """Everything for a person."""
    lines = [f"# {study.title}", "", markdown_table(report.table), ""]
    lines += [f"- {finding}" for finding in report.findings]
    lines += ["", "Protocol:", "", *(f"- {line}" for line in report.protocol), ""]
    lines += ["Machine:", "", *(f"- {key}: {value}" for key, value in run.items()), "", f"![plot]({study.name}.png)"]
    return "\n".join(lines) + "\n"


def write_report(
    study: Study, report: Report, results: Sequence[tuple[Part, dict[str, Any]]], folder: Path
) -> list[Path]:
    """Write ``NAME.md``, ``.csv``, ``.json`` and ``.png`` into a folder; each appears whole, and replaces its namesake.

    Returns:
        Their paths.

    Raises:
        MediaError: they cannot be written.
    """
    run = describe_run(str(study.options.device))
    document = dict(
        study=study.name,
        title=study.title,
        protocol=list(report.protocol),
        findings=list(report.findings),
        machine=run,
        table=dict(columns=list(report.table.columns), rows=[list(row) for row in report.table.rows]),
        parts=[dict(settings=part.settings, result=result) for part, result in results],
    )
    texts = {
        ".md": markdown(study, report, run),
        ".csv": csv_table(report.details, report.protocol),
        ".json": json.dumps(document, indent=1) + "\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{study.name}{suffix}" for suffix in (*texts, ".png")]
    for path, text in zip(paths, texts.values(), strict=False):
        write_whole(path, partial(Path.write_text, data=text, encoding="utf-8"))
    figure = new_figure(*report.figure_size)
    report.draw(figure)
    save_figure(figure, paths[-1])
    return paths
