"""The machine under a benchmark: what it is, its clocks and memory; and a report of figures measured on it."""

import dataclasses
import json
import os
import platform
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vsr_plugin import __version__


def describe_machine(device: str, threads: int) -> dict[str, str]:
    """Versions, processor and threads (0 for PyTorch's own choice), as they belong beside every figure."""
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        processor = names[0].partition(":")[2].strip() if names else processor
    described = {
        "vsr_plugin": __version__,
        "PyTorch": torch.__version__,
        "Python": platform.python_version(),
        "processor": f"{processor}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(threads or torch.get_num_threads()),
        "load before": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }
    if device != "cpu":
        described["GPU"] = torch.cuda.get_device_name(torch.device(device))
    return described


def peak_memory(device: str) -> float:
    """Highest use of memory so far in MB: of the process, or of tensors on the GPU."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def synchronise(device: str) -> None:
    """Wait until a GPU has done what it was told."""
    if device != "cpu":
        torch.cuda.synchronize()


@contextmanager
def timed(device: str) -> Iterator[dict[str, float]]:
    """Afterwards ``seconds`` of the wall clock and ``cpu_seconds`` of the processor that the body took."""
    figures: dict[str, float] = {}
    synchronise(device)
    wall, cpu = time.perf_counter(), time.process_time()
    yield figures
    synchronise(device)
    figures.update(seconds=time.perf_counter() - wall, cpu_seconds=time.process_time() - cpu)


def as_json(results: Sequence[Any], machine: dict[str, str], setting: Any, protocol: str) -> str:
    """Everything that was measured, for a file.

    Args:
        results: dataclasses with a ``median``.
        machine: what they were measured on.
        setting: a dataclass: what all implementations were given alike.
        protocol: how, in words.
    """
    document = dict(
        machine=machine,
        protocol=protocol,
        setting=dataclasses.asdict(setting),
        results=[dataclasses.asdict(result) | dict(median=result.median) for result in results],
    )
    return json.dumps(document, indent=2) + "\n"
