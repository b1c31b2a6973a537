"""Speed, memory and quality of several implementations on the same input, run in turn."""

import dataclasses
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from vsr_plugin.benchmarks.implementations import Setting
from vsr_plugin.benchmarks.remote import remote
from vsr_plugin.report import table_text


@dataclasses.dataclass(frozen=True)
class Case:
    """One input: a sample clip, the number of its frames, and LR height and width (``None`` for the usual crop)."""

    clip: str
    frames: int
    size: tuple[int, int] | None = None

    def __str__(self) -> str:
        """One line for a person."""
        size = "usual crop" if self.size is None else f"{self.size[0]}x{self.size[1]}"
        return f"{self.clip}, {size}, {self.frames} frames"


@dataclasses.dataclass
class Result:
    """Figures of one implementation on one case; seconds are per frame, one entry per repetition."""

    implementation: str
    case: Case
    seconds: list[float] = dataclasses.field(default_factory=list)
    cpu_seconds: list[float] = dataclasses.field(default_factory=list)
    memory_mb: float = 0.0
    psnr: float | None = None
    max_difference: float | None = None
    db_to_reference: float | None = None

    @property
    def median(self) -> float:
        """Median of the seconds per frame."""
        return statistics.median(self.seconds)


def measure(
    implementations: Sequence[str],
    cases: Sequence[Case],
    setting: Setting,
    repetitions: int,
    report: Callable[[str], None] = lambda line: None,
) -> list[Result]:
    """Time implementations on every case, one repetition of each in turn; the first is the reference of the outputs.

    Raises:
        VSRError: weights or clips are missing, or a worker ended.
    """
    results = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers = [stack.enter_context(remote("worker", name, setting)) for name in implementations]
        for worker in workers:
            worker.wait_until_ready()
        for case in cases:
            of_case = [Result(worker.name, case) for worker in workers]
            for worker in workers:
                worker.ask("load", **dataclasses.asdict(case))
            for k in range(repetitions):
                for worker, result in zip(workers, of_case, strict=True):
                    figures = worker.ask("run")
                    result.seconds.append(figures["seconds"])
                    result.cpu_seconds.append(figures["cpu_seconds"])
                    result.memory_mb = max(result.memory_mb, figures["memory_mb"])
                    report(f"{case}: {worker.name} {k + 1}/{repetitions}: {figures['seconds']:#.4g} s per frame")
            reference = None
            for worker, result in zip(workers, of_case, strict=True):
                path = str(folder / f"{worker.name}.pt")
                for key, value in worker.ask("judge", path=path, reference=reference).items():
                    setattr(result, key, value)
                reference = reference or path
            results += of_case
    return results


def table(results: Sequence[Result]) -> str:
    """A table in Markdown.

    ``times`` is how many times as fast as the first implementation of the same case, by medians; ``by CPU time`` the
    same by the least processor time, which other processes on the machine disturb less.
    """
    titles = "input | implementation | s/frame | spread | times | CPU s | by CPU time | MB"
    titles += " | PSNR-Y | max diff. | dB to first"
    rows = []

    def shown(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    first: Result | None = None
    for result in results:
        if first is None or result.case != first.case:
            first = result
        rows.append(
            [
                str(result.case),
                result.implementation,
                f"{result.median:#.4g}",
                f"{min(result.seconds):#.4g} to {max(result.seconds):#.4g}",
                f"{first.median / result.median:.2f}",
                f"{min(result.cpu_seconds):#.4g}",
                f"{min(first.cpu_seconds) / min(result.cpu_seconds):.2f}",
                f"{result.memory_mb:.0f}",
                shown(result.psnr, ".3f"),
                shown(result.max_difference, ".1e"),
                shown(result.db_to_reference, ".1f"),
            ]
        )
    return table_text(titles.split(" | "), rows)
