"""The files of a report: Markdown for a person, CSV and JSON for programs, PNG."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vsr_plugin.benchmarks.machine import describe_machine
from vsr_plugin.files import write_whole
from vsr_plugin.studies.study import Part, Report, Study, Table
from vsr_plugin.visualization.figures import new_figure, save_figure


def describe_run(device: str) -> dict[str, str]:
    """Machine, versions, date, and the commit where the package is in a checkout."""
    described = describe_machine(device, 0) | {"date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}
    described["load at the end"] = described.pop("load before")
    commit = subprocess.run(
        ["git", "-C", os.fspath(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if commit.returncode == 0:
        described["commit"] = commit.stdout.strip()
    return described


def markdown_table(table: Table) -> str:
    """The table in Markdown, numbers in the form of their column."""

    def cell(title: str, value: object) -> str:
        if value is None:
            return ""
        return format(value, table.forms.get(title, "")) if isinstance(value, int | float) else str(value)

    lines = ["| " + " | ".join(table.columns) + " |", "| " + " | ".join("---" for _ in table.columns) + " |"]
    for row in table.rows:
        lines.append("| " + " | ".join(cell(t, v) for t, v in zip(table.columns, row, strict=True)) + " |")
    return "\n".join(lines)


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
