"""Precision ``auto``: the one that is fastest on the machine at hand within 0.01 dB of float32, tried once and kept."""

import json
import math
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.acceleration import kernel_cache
from vsr_plugin.acceleration.accelerate import accelerate
from vsr_plugin.acceleration.cpu.kernels import jit
from vsr_plugin.acceleration.precision import PRECISIONS, feature_dtype
from vsr_plugin.defaults import AUTO
from vsr_plugin.errors import VSRError

#: What a result of ``_QUALITY`` dB may lose, in dB, if errors of the precision and of the network add up as those of
#: independent noise do.
_MAX_LOSS, _QUALITY = 0.01, 40
#: Difference to the result in float32, in dB, from which on that holds: 66.4.
NEEDED = _QUALITY - 10 * math.log10(10 ** (_MAX_LOSS / 10) - 1)
#: Share of float32's time that another precision must save to be taken.
_MIN_GAIN = 0.05
#: Frames, height and width that are restored in a trial. Convolutions are large enough for kernels of our own.
_ON_CPU, _ON_GPU = (2, 64, 96), (5, 180, 320)
_ROUNDS = 3


@dataclass(frozen=True)
class Trial:
    """What was found out.

    Attributes:
        precision: the one to take.
        seconds: for a frame of the trial, by precision, of the processor or the GPU.
        difference: to the result in float32 in dB, by precision, as of frames in [0, 1].
    """

    precision: str
    seconds: dict[str, float]
    difference: dict[str, float]

    def __str__(self) -> str:
        times = ", ".join(f"{name} {self.seconds[name]:.2g} s" for name in sorted(self.seconds, key=self.seconds.get))
        return f"precision {self.precision}: the fastest here within 0.01 dB of fp32 (a frame of the trial: {times})"


_tried: dict[tuple[str, ...], Trial] = {}


def decided(net: nn.Module, precision: str) -> str:
    """The precision that is meant: what :func:`fastest_precision` finds for ``'auto'``, else what was said."""
    return fastest_precision(net).precision if precision == AUTO else precision


def fastest_precision(net: nn.Module) -> Trial:
    """Find the fastest precision for a network on its device, of those within 0.01 dB of float32.

    The first time it takes some seconds; what was found is kept beside the compiled kernels (see
    :mod:`vsr_plugin.acceleration.kernel_cache`) for this processor or GPU, PyTorch, code and kind of network.

    Args:
        net: see :func:`vsr_plugin.acceleration.accelerate`.

    Raises:
        VSRError: it has to be tried, and cannot be accelerated.
    """
    device = next(net.parameters()).device
    candidates = [name for name in PRECISIONS if _computes(name, device)]
    kind = [type(net).__name__, net.components, *(f"{name} {list(t.shape)}" for name, t in net.state_dict().items())]
    code = kernel_cache.digest(Path(__file__).parent)
    depends_on = ("precision", torch.__version__, code, *_processor(device), *candidates, *kind)
    if depends_on not in _tried:
        kept = kernel_cache.cached(depends_on, lambda: json.dumps(asdict(_try(net, candidates, device))).encode())
        _tried[depends_on] = Trial(**json.loads(kept))
    return _tried[depends_on]


def _computes(precision: str, device: torch.device) -> bool:
    try:
        feature_dtype(precision, device)
    except VSRError:
        return False
    return True


def _processor(device: torch.device) -> tuple[str, ...]:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device), str(torch.backends.cudnn.allow_tf32)
    try:
        known = jit.processor()
    except RuntimeError:
        known = platform.processor(), torch.backends.cpu.get_cpu_capability()
    return platform.machine(), *known


def _moving_picture(frames: int, height: int, width: int) -> Tensor:
    """Shapes and grain that move by a pixel a frame, ``(1, frames, 3, height, width)``."""
    generator = torch.Generator().manual_seed(0)
    sides = height + frames, width + frames
    shapes = torch.rand(1, 3, sides[0] // 8, sides[1] // 8, generator=generator)
    picture = F.interpolate(shapes, sides, mode="bicubic", align_corners=False)
    picture = (picture + 0.05 * torch.randn(picture.shape, generator=generator)).clamp(0, 1)
    return torch.stack([picture[..., i : i + height, i : i + width] for i in range(frames)], dim=1)


@torch.no_grad()
def _try(net: nn.Module, candidates: list[str], device: torch.device) -> Trial:
    frames = _moving_picture(*(_ON_GPU if device.type == "cuda" else _ON_CPU)).to(device)
    nets = {name: accelerate(net, precision=name) for name in candidates}
    # The first run compiles and packs.
    results = {name: fast(frames) for name, fast in nets.items()}
    seconds = dict.fromkeys(nets, math.inf)
    for _ in range(_ROUNDS):
        for name, fast in nets.items():
            seconds[name] = min(seconds[name], _seconds(lambda fast=fast: fast(frames), device) / frames.size(1))
    exact = results["fp32"].float()
    difference = {
        name: 99.0 if torch.equal(result.float(), exact) else -10 * math.log10((result.float() - exact).square().mean())
        for name, result in results.items()
    }
    usable = {
        name: value
        for name, value in seconds.items()
        # A comparison that NaN fails as well.
        if name == "fp32" or (difference[name] >= NEEDED and value <= (1 - _MIN_GAIN) * seconds["fp32"])
    }
    return Trial(min(usable, key=usable.get), seconds, difference)


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    """Processor time on CPUs, which other work on the machine disturbs least."""
    if device.type != "cuda":
        begin = time.process_time()
        call()
        return time.process_time() - begin
    torch.cuda.synchronize(device)
    begin = time.perf_counter()
    call()
    torch.cuda.synchronize(device)
    return time.perf_counter() - begin
