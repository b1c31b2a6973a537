"""Fuzz the readers and joining for as long as there is time: ``python tests/fuzzing/fuzz.py --minutes 60``.

Inputs are tried in a process of their own, which is ended when one takes too long or too much memory; those that end in
neither a result nor one clear line are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

#: What one input may take: seconds, and bytes beyond what the process has before the first.
MOST_SECONDS, MOST_BYTES = 30, 1 << 30


def child(folder: Path, seed: int) -> None:
    """Try inputs, and say of each what came of it, a line of JSON each; goes on until it is ended."""
    from fuzzing.attempts import attempt
    from fuzzing.flips import damaged, seeds
    from fuzzing.structures import TARGETS, make, structures

    paths = seeds(folder / "seeds")
    rng = random.Random(seed)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    number = 0
    before = None
    while True:
        number += 1
        rng.seed(f"{seed} {number}")
        if number % 3 == 0:
            structure = drawn(structures(), rng)
            source = folder / f"input{structure.suffix}"
            make(structure, source)
            target, asked = structure.target, dict(first=structure.first, count=structure.count)
        else:
            chosen = rng.choice(paths)
            source = folder / f"input{chosen.suffix}"
            source.write_bytes(damaged(chosen.read_bytes(), rng))
            target, asked = rng.choice(TARGETS), {}
        print(json.dumps(dict(number=number, kind=source.suffix, target=target)), flush=True)
        output = folder / f"output{target}"
        try:
            outcome = attempt(source, output, **asked)
            result = dict(outcome="done" if outcome == "done" else "refused", line=outcome)
        except BaseException as error:  # whatever it is, it is what is looked for
            result = dict(outcome="fault", line=f"{type(error).__name__}: {error}")
        if output.is_dir():
            shutil.rmtree(output)
        output.unlink(missing_ok=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        before = before or peak
        result["bytes"] = peak - before
        before = max(before, peak)
        print(json.dumps(result), flush=True)


def drawn(strategy, rng: random.Random):
    """One example of a strategy, which depends on ``rng`` alone."""
    from hypothesis import HealthCheck, Phase, given, seed, settings

    found = []

    @seed(rng.randrange(1 << 30))
    @settings(
        max_examples=3, phases=[Phase.generate], database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(strategy)
    def take(value):
        found.append(value)

    take()
    return found[-1]


class Runner:
    """Counts what came of inputs, and keeps those that went wrong.

    Args:
        kept: A folder for them.
        seed: Of the inputs.

    Attributes:
        counts: Numbers of inputs by outcome.
        faults: A line for each that went wrong.
        slowest: Seconds of the slowest input.
    """

    def __init__(self, kept: Path, seed: int) -> None:
        self._kept, self._seed = kept, seed
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.slowest = 0.0

    def run(self, seconds: float) -> None:
        """Try inputs for so long, in one process after the other."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with tempfile.TemporaryDirectory(prefix="fuzz_") as folder:
                self._run_child(Path(folder), end)
            self._seed += 1

    def _run_child(self, folder: Path, end: float) -> None:
        command = [sys.executable, __file__, "--child", str(folder), "--seed", str(self._seed)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            try:
                about: dict = {}
                begun = time.monotonic()
                for line in self._lines(process, end):
                    said = json.loads(line)
                    if "number" in said:
                        about, begun = said, time.monotonic()
                        continue
                    self.slowest = max(self.slowest, time.monotonic() - begun)
                    if said["bytes"] > MOST_BYTES:
                        said.update(outcome="fault", line=f"took {said['bytes'] >> 20} MiB")
                    self._count(folder, about, said["outcome"], said["line"])
                    about = {}
                if about and time.monotonic() < end:
                    died = process.poll()
                    what = f"no answer in {MOST_SECONDS} s" if died is None else f"ended with {died}"
                    self._count(folder, about, "fault", what)
            finally:
                process.kill()

    def _lines(self, process: subprocess.Popen, end: float):
        """What a child says, until it says nothing for too long or the time is over."""
        buffer = b""
        descriptor = process.stdout.fileno()
        while time.monotonic() < end:
            ready, _, _ = select.select([descriptor], [], [], min(MOST_SECONDS, max(0, end - time.monotonic())))
            if not ready:
                return
            read = os.read(descriptor, 1 << 16)
            if not read:
                process.wait()
                return
            *lines, buffer = (buffer + read).split(b"\n")
            yield from lines

    def _count(self, folder: Path, about: dict, outcome: str, line: str) -> None:
        self.counts[outcome] += 1
        if outcome == "fault":
            name = f"{self._seed}-{about['number']}{about['kind']}"
            self.faults.append(f"{name} -> {about['target'] or 'folder'}: {line}")
            self._kept.mkdir(parents=True, exist_ok=True)
            source = folder / f"input{about['kind']}"
            if source.exists():
                shutil.copy(source, self._kept / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=Path, default=Path("work_dirs/fuzzing"), help="for inputs that went wrong")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        child(args.child, args.seed)
    runner = Runner(args.kept, args.seed)
    end = time.monotonic() + 60 * args.minutes
    told = 0
    while time.monotonic() < end:
        runner.run(min(60, end - time.monotonic()))
        for line in runner.faults[told:]:
            print(line, flush=True)
        told = len(runner.faults)
        counts = ", ".join(f"{number} {outcome}" for outcome, number in sorted(runner.counts.items()))
        print(f"{counts}; the slowest took {runner.slowest:.1f} s", flush=True)
    sys.exit(bool(runner.faults))


if __name__ == "__main__":
    main()
