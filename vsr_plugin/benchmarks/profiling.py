"""Which component takes which share of the time, at which rate, against the rate of a plain convolution."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.acceleration.conversion import mixed
from vsr_plugin.acceleration.cuda.graphs import steps_in_turn
from vsr_plugin.acceleration.cuda.tuning import cuda_seconds
from vsr_plugin.models.alignment import FlowGuidedDeformConv
from vsr_plugin.ops.deform_conv import ModulatedDCNPack
from vsr_plugin.report import table_text

_CONVOLUTIONS = nn.Conv2d | ModulatedDCNPack | FlowGuidedDeformConv
#: Steps of a network and what they are called; those within others are taken out of the outer ones.
COMPONENTS = {
    "estimate_flows": "flow",
    "frame_features": "refill",
    "align": "warp",
    "step": "propagation",
    "upsample": "upsampling",
    "reconstruct": "fusion",
}
#: On a GPU, where steps are replayed as wholes.
WHOLE_STEPS = {
    "estimate_flows": "flow",
    "frame_features": "refill",
    "step": "propagation",
    "reconstruct": "upsampling",
}


@dataclass(frozen=True)
class Share:
    """Time and work of one component per frame."""

    component: str
    seconds: float
    gflop: float

    @property
    def rate(self) -> float:
        """Useful arithmetic in GFLOP/s: of the convolutions as the paper has them, whatever is computed in fact."""
        return self.gflop / self.seconds


def _clock() -> float:
    """Seconds. Of the processor where one thread computes, since other processes on the machine disturb those less."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


class _Stopwatch:
    """Adds up what is spent in the innermost component at each moment.

    On a GPU its own clock is read between the kernels, so nothing waits and the kernels follow each other as usual.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._open: list[str] = []
        self._laps: list[tuple] = []  # component, start and end of each stretch
        self._since = self._now()

    @property
    def current(self) -> str:
        return self._open[-1] if self._open else "rest"

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        self._lap()
        self._open.append(name)
        try:
            yield
        finally:
            self._lap()
            self._open.pop()

    def _now(self) -> "float | torch.cuda.Event":
        if self.device.type != "cuda":
            return _clock()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def _lap(self) -> None:
        now = self._now()
        self._laps.append((self.current, self._since, now))
        self._since = now

    def totals(self) -> dict[str, float]:
        """Seconds of each component; waits for the device."""
        totals: defaultdict[str, float] = defaultdict(float)
        for component, start, stop in self._laps:
            if isinstance(stop, float):
                totals[component] += stop - start
            else:
                stop.synchronize()
                totals[component] += start.elapsed_time(stop) / 1000
        return totals


def _watched(net: nn.Module, watch: _Stopwatch) -> nn.Module:
    """The same network, whose steps report to a stopwatch."""

    def timed(step: str, component: str) -> Callable:
        def run(self: nn.Module, *args: object, **kwargs: object) -> object:
            with watch.section(component):
                return getattr(super(timing, self), step)(*args, **kwargs)

        return run

    steps = WHOLE_STEPS if watch.device.type == "cuda" else COMPONENTS
    timing = type("Timing", (), {step: timed(step, component) for step, component in steps.items()})
    return mixed(net, timing, "Timed")


def count_work(net: nn.Module, lrs: Tensor) -> dict[str, float]:
    """Arithmetic of the convolutions in GFLOP per frame and component; ``net`` must be the network as it trains."""
    watch = _Stopwatch(lrs.device)
    work: defaultdict[str, float] = defaultdict(float)

    def count(module: nn.Module, _, out: Tensor) -> None:
        work[watch.current] += 2 * out.numel() * module.weight[0].numel() / 1e9

    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, _CONVOLUTIONS)]
    try:
        with torch.no_grad():
            _watched(net, watch)(lrs)
    finally:
        for hook in hooks:
            hook.remove()
    return {component: gflop / lrs.size(1) for component, gflop in work.items()}


def arithmetic_peak(device: torch.device, dtype: torch.dtype, repetitions: int = 20) -> float:
    """GFLOP/s that a device reaches; the best of several.

    On CPUs by a 3x3 convolution from 64 to 64 channels at 180x320 in channels-last layout, on GPUs by a product of
    8192x8192 matrices (for float32 in TF32, if convolutions may compute in that).
    """
    best = float("inf")
    if device.type == "cuda":
        side = 8192
        x = torch.randn(side, side, device=device).to(dtype)
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
        try:
            best = min(cuda_seconds(torch.mm, x, x) for _ in range(repetitions))
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before
        return 2 * side**3 / best / 1e9
    x = torch.randn(1, 64, 180, 320, device=device).to(dtype, memory_format=torch.channels_last)
    weight = torch.randn(64, 64, 3, 3, device=device).to(dtype, memory_format=torch.channels_last)
    for _ in range(repetitions):
        start = _clock()
        F.conv2d(x, weight, padding=1)
        best = min(best, _clock() - start)
    return 2 * x.numel() * 64 * 9 / best / 1e9


@torch.no_grad()
def profile(net: nn.Module, lrs: Tensor, work: dict[str, float], repetitions: int = 3) -> list[Share]:
    """Share of each component in a run of ``net`` over a sequence; per component the fastest of several runs.

    On a GPU nothing is computed beside anything else meanwhile, as it is otherwise.

    Args:
        net: any network with this package's steps, plain or accelerated.
        lrs: ``(n, t, 3, h, w)``.
        work: what :func:`count_work` says about the plain network and the same sequence.
        repetitions: runs after those to warm up: one of two frames, on a GPU two of all.
    """
    runs = []
    with steps_in_turn(net):
        for _ in range(2 if lrs.is_cuda else 1):
            net(lrs if lrs.is_cuda else lrs[:, :2])
        for _ in range(repetitions):
            watch = _Stopwatch(lrs.device)
            with watch.section("rest"):
                _watched(net, watch)(lrs)
            runs.append(watch.totals())
    names = dict.fromkeys(name for run in runs for name in run)
    return [Share(name, min(run[name] for run in runs) / lrs.size(1), work.get(name, 0.0)) for name in names]


def table(shares: list[Share], peak: float) -> str:
    """A table in Markdown, largest share first, with the time that the work would take at the peak.

    Work is counted as direct convolutions have it, so kernels that get by with fewer multiplications exceed the peak.
    """
    total = sum(share.seconds for share in shares)
    rows = []
    for share in sorted(shares, key=lambda s: -s.seconds):
        rate = [f"{share.rate:.0f}", f"{share.rate / peak:.0%}"] if share.gflop else ["", ""]
        times = [f"{1e3 * share.seconds:.4g}", f"{share.seconds / total:.1%}"]
        rows.append([share.component, *times, f"{share.gflop:.1f}", *rate])
    gflop = sum(share.gflop for share in shares)
    rate = [f"{gflop / total:.0f}", f"{gflop / total / peak:.0%}"]
    rows.append(["all", f"{1e3 * total:.4g}", "100 %", f"{gflop:.1f}", *rate])
    floor = f"floor {1e3 * gflop / peak:.3g} ms per frame without saving multiplications"
    titles = ["component", "ms/frame", "share", "GFLOP", "GFLOP/s", "of peak"]
    return f"{table_text(titles, rows)}\n\npeak {peak:.0f} GFLOP/s, by PyTorch's own operators: {floor}"
