"""Time and memory of one training step of several implementations on the same batch, run in turn."""

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from vsr_plugin.benchmarks.remote import remote
from vsr_plugin.models import BasicVSRNet, IconVSRNet
from vsr_plugin.report import table_text


@dataclasses.dataclass(frozen=True)
class Implementation:
    """How a network is trained: MMagic's or ours, in which precision, with checkpointing, with kernels of our own."""

    words: str
    precision: str = "fp32"
    with_cp: bool = False
    ours: bool = True
    accelerate: bool = True


IMPLEMENTATIONS = {
    "mmagic": Implementation("MMagic's network, float32", ours=False),
    "plain": Implementation("ours, float32, PyTorch's operators", accelerate=False),
    "fp32": Implementation("ours, float32"),
    "fp32+cp": Implementation("ours, float32, gradient checkpointing", with_cp=True),
    "bf16": Implementation("ours, mixed precision with bfloat16", "bf16"),
    "bf16+cp": Implementation("ours, mixed precision with bfloat16, gradient checkpointing", "bf16", with_cp=True),
    "fp16": Implementation("ours, mixed precision with float16", "fp16"),
    "fp16+cp": Implementation("ours, mixed precision with float16, gradient checkpointing", "fp16", with_cp=True),
}
#: What is compared unless a person chooses, with its precision.
USUAL = {name: IMPLEMENTATIONS[name].precision for name in ("mmagic", "fp32", "fp32+cp", "bf16", "bf16+cp")}


#: Networks that are trained, both in the sizes of BasicVSR.
MODELS = {"basicvsr": BasicVSRNet, "iconvsr": IconVSRNet}


@dataclasses.dataclass(frozen=True)
class TrainSetting:
    """What every implementation is given alike.

    Args:
        model: one of :data:`MODELS`.
        device: ``'cpu'`` or ``'cuda'``.
        threads: of PyTorch on the CPU; 0 for its default.
        batch: sequences in a batch.
        frames: of a sequence.
        patch: height and width of LR frames.
        mid_channels: of the network.
        num_blocks: of the network.
    """

    model: str = "basicvsr"
    device: str = "cpu"
    threads: int = 0
    batch: int = 1
    frames: int = 15
    patch: int = 64
    mid_channels: int = 64
    num_blocks: int = 30

    def __str__(self) -> str:
        """One line for a person."""
        size = f"{self.mid_channels} channels, {self.num_blocks} blocks"
        return f"{self.model} ({size}), batch {self.batch}, {self.frames} frames of {self.patch}x{self.patch} LR"


@dataclasses.dataclass
class Result:
    """Figures of one implementation; seconds are per training step, one entry per repetition.

    Attributes:
        losses: of the steps, the one to warm up first.
    """

    implementation: str
    seconds: list[float] = dataclasses.field(default_factory=list)
    cpu_seconds: list[float] = dataclasses.field(default_factory=list)
    memory_mb: float = 0.0
    losses: list[float] = dataclasses.field(default_factory=list)

    @property
    def median(self) -> float:
        """Median of the seconds per step."""
        return statistics.median(self.seconds)


def protocol(setting: TrainSetting, repetitions: int) -> str:
    """How the figures are taken, in one line."""
    taken = "one step to warm up, then" if setting.device == "cpu" else "in each turn one step to warm up, then one of"
    memory = (
        "peak resident memory beyond that before the first step (with gradients and Adam's moments, without weights)"
        if setting.device == "cpu"
        else "peak memory of tensors on the GPU, all included"
    )
    return (
        "each implementation in a process of its own, run in turn; forward, Charbonnier loss, backward and Adam on one "
        f"random batch, from the same random weights; {taken} {repetitions} timed steps"
        + ("" if setting.device == "cpu" else ", synchronised before and after")
        + f"; median and spread; {memory}"
    )


def measure(
    implementations: Sequence[str],
    setting: TrainSetting,
    repetitions: int,
    report: Callable[[str], None] = lambda line: None,
) -> list[Result]:
    """Time implementations, one step of each in turn.

    Raises:
        VSRError: a worker ended, for want of memory perhaps.
    """
    with ExitStack() as stack:
        workers = [stack.enter_context(remote("training_worker", name, setting)) for name in implementations]
        results = [Result(worker.name) for worker in workers]
        for worker, result in zip(workers, results, strict=True):
            result.losses.append(worker.ask("warm_up")["loss"])
            report(f"{worker.name}: ready")
        for k in range(repetitions):
            for worker, result in zip(workers, results, strict=True):
                figures = worker.ask("step")
                result.seconds.append(figures["seconds"])
                result.cpu_seconds.append(figures["cpu_seconds"])
                result.losses.append(figures["loss"])
                result.memory_mb = max(result.memory_mb, figures["memory_mb"])
                report(f"{worker.name} {k + 1}/{repetitions}: {figures['seconds']:.3f} s")
    return results


def table(results: Sequence[Result]) -> str:
    """A table in Markdown.

    ``times``, ``by CPU time`` and ``of its memory`` compare with the first implementation; ``loss`` is that of the
    first step, and ``rel. diff.`` the largest difference of any step's loss from the first implementation's.
    """
    titles = "implementation | s/step | spread | times | CPU s | by CPU time | MB | of its memory | loss | rel. diff."
    rows = []
    first = results[0]
    for result in results:
        differences = (abs(a - b) / abs(b) for a, b in zip(result.losses, first.losses, strict=True))
        rows.append(
            [
                IMPLEMENTATIONS[result.implementation].words,
                f"{result.median:.3f}",
                f"{min(result.seconds):.3f} to {max(result.seconds):.3f}",
                f"{first.median / result.median:.2f}",
                f"{min(result.cpu_seconds):.3f}",
                f"{min(first.cpu_seconds) / min(result.cpu_seconds):.2f}",
                f"{result.memory_mb:.0f}",
                f"{result.memory_mb / first.memory_mb:.0%}",
                f"{result.losses[0]:.6f}",
                f"{max(differences):.1e}",
            ]
        )
    return table_text(titles.split(" | "), rows)
