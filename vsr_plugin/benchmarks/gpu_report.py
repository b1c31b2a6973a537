"""All figures of a GPU by one call: each part is a command of its own, and what it says is kept as soon as it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vsr_plugin.files import write_text

_NETWORKS = ("basicvsr", "iconvsr", "basicvsr_pp", "realbasicvsr")
_BENCHMARK = (sys.executable, "-m", "vsr_plugin", "benchmark")
#: The parts, the ones first that are asked for most, by name; ``JSON`` stands for a file that takes figures.
PARTS: dict[str, list[str]] = {
    **{
        f"speed of {name}": [
            *(*_BENCHMARK, "speed", "--model", name, "--device", "cuda", "--json", "JSON"),
            *("--implementations", "mmagic", "fp32", "bf16", "fp16", "--frames", "30"),
            *("--sizes", "180x320", "270x480", "540x960"),
        ]
        for name in _NETWORKS
    },
    **{
        f"film in {precision}": [
            *(*_BENCHMARK, "film", "--device", "cuda", "--precision", precision, "--preset", "ultrafast"),
            *("--frames", "1000", "--json", "JSON"),
        ]
        for precision in ("fp16", "fp32")
    },
    "film encoded by the GPU": [
        *(*_BENCHMARK, "film", "--device", "cuda", "--precision", "fp16", "--codec", "hevc_nvenc"),
        *("--frames", "1000", "--json", "JSON"),
    ],
    # The paper's step; and what it must not wait for.
    **{
        f"training of {name}": [
            *(*_BENCHMARK, "train", "--model", name, "--device", "cuda", "--batch", "8", "--json", "JSON"),
        ]
        for name in ("basicvsr", "iconvsr")
    },
    "data for training": [*_BENCHMARK, "data", "--json", "JSON"],
    **{
        f"profile of {name}": [
            *(*_BENCHMARK, "profile", "--model", name, "--device", "cuda"),
            *("--implementation", "fp16", "--frames", "30"),
        ]
        for name in _NETWORKS
    },
    "tests": [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"],
}


@dataclass
class PartReport:
    """What came of a part.

    Attributes:
        name: of the part.
        command: that was run.
        seconds: that it took.
        status: its exit status; ``None`` if it was ended because the time was over.
        output: what it printed.
        figures: what it wrote as JSON.
    """

    name: str
    command: str
    seconds: float
    status: int | None
    output: str
    figures: object = None


def run_parts(
    parts: Mapping[str, Sequence[str]], folder: Path, seconds: float, report: Callable[[str], None]
) -> list[PartReport]:
    """Run parts in turn until the time is over; ``report.md`` and ``report.json`` hold what has ended so far.

    Args:
        parts: commands by name.
        folder: takes the two files; made if it does not exist.
        seconds: for all of them.
        report: called with a line on what is done now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done: list[PartReport] = []
    end = time.monotonic() + seconds
    for name, command in parts.items():
        if time.monotonic() >= end:
            report(f"{name}: left out, the time is over")
            continue
        report(name)
        figures = folder / f"{name.replace(' ', '_')}.json"
        begun = time.monotonic()
        status, output = _run([str(figures) if word == "JSON" else word for word in command], end - begun)
        done.append(PartReport(name, " ".join(command), time.monotonic() - begun, status, output))
        if figures.exists():
            done[-1].figures = json.loads(figures.read_text())
            figures.unlink()
        write_text(folder / "report.json", json.dumps([asdict(part) for part in done], indent=2))
        write_text(folder / "report.md", "\n".join(map(_in_words, done)))
    return done


def _run(command: Sequence[str], seconds: float) -> tuple[int | None, str]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return None, process.communicate()[0]
    except BaseException:
        process.kill()
        raise
    return process.returncode, output


def _in_words(part: PartReport) -> str:
    ended = "the time was over" if part.status is None else f"exit status {part.status}"
    told = f"`{part.command}`: {ended} after {part.seconds:.0f} s"
    return f"## {part.name}\n\n{told}\n\n```text\n{part.output.rstrip()}\n```\n"
