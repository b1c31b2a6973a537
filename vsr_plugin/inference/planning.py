"""How to restore a sequence within a memory budget: strategy, frames at a time, tiles."""

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn as nn

from vsr_plugin.acceleration.cuda.graphs import records_steps
from vsr_plugin.defaults import OVERLAP, STRATEGIES, WINDOW
from vsr_plugin.errors import VSRError
from vsr_plugin.inference.cleaning import PIXELS
from vsr_plugin.inference.tiling import MIN_TILE

_BLOCK, _BLOCK_MIN = 32, 4
_TILES = (1024, 512, 256, 128, 64, MIN_TILE)
_TEMPORARY_BYTES = 256 * 2**20

# Bytes per pixel of features of what a step needs while it runs, measured with 64 channels in float32; see `make_plan`.
_STEP_BYTES, _UNTILED_BYTES, _REFILL_BYTES = 2600, 424, 10000
# The same per HR pixel; the layers at HR size have 64 channels whatever the width of the others.
_UPSAMPLING_BYTES = 815
# Layers of a cleaning that are in memory together.
_CLEANING_LAYERS = 5
# Bytes of a pixel of a frame, which is float32 in any precision, and how many HR frames there are at a time.
_PIXEL_BYTES, _HR_FRAMES = 3 * 4, 3


@dataclass(frozen=True)
class Plan:
    """How one sequence is restored.

    Attributes:
        strategy: ``'whole'``: all in memory; ``'exact'``: the same result in bounded memory; ``'window'``: overlapping
            windows, an approximation.
        block: frames in memory together; of ``'window'`` all that a window reads.
        overlap: frames that a window reads beyond each end.
        tile: side of the spatial tiles in pixels of features, LR pixels but for networks that restore at the size of
            their input; ``None`` for none.
    """

    strategy: str
    block: int
    overlap: int = 0
    tile: int | None = None

    def __str__(self) -> str:
        """A few words for a person."""
        tiles = self._tiles
        if self.strategy == "whole":
            return f"whole sequence{tiles}"
        if self.strategy == "exact":
            return f"exact, {self.block} frames at a time{tiles}"
        return f"windows of {self.block} frames that overlap by {2 * self.overlap}{tiles}"

    @property
    def windows(self) -> str:
        """A few words on windows of which this is how one is restored."""
        return f"windows (--window, --overlap){self._tiles}"

    @property
    def _tiles(self) -> str:
        return f", in tiles of {self.tile}" if self.tile else ""

    def smaller(self) -> "Plan | None":
        """The next plan that needs less memory; ``None`` if there is none with the same kind of result."""
        if self.strategy == "whole" or (self.strategy == "exact" and self.block > _BLOCK_MIN):
            return replace(self, strategy="exact", block=min(_BLOCK, max(self.block // 4, _BLOCK_MIN)))
        tiles = [tile for tile in _TILES[1:] if tile < (self.tile or _TILES[0])]
        return replace(self, tile=tiles[0]) if tiles else None


#: By what a line of /proc/self/cgroup says of controllers: where its groups are, and the files of the limit and of what
#: is taken, and the share of that which the system takes back when it is needed. Version 2 of cgroups, and 1.
_CGROUPS = {
    "": ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def free_memory(device: torch.device, root: Path = Path("/")) -> int:
    """Bytes that can be taken on ``device`` now.

    Free GPU memory; or what the system calls available, but no more than a container leaves.

    Args:
        device: where.
        root: of the file system that says what the system has.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    try:
        available = _sizes(root / "proc/meminfo")["MemAvailable:"] * 1024
    except (OSError, KeyError, ValueError):
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return min([available, *_left_by_cgroups(root)])


def _sizes(path: Path) -> dict[str, int]:
    """The first number of every line behind its name."""
    lines = map(str.split, path.read_text().splitlines())
    return {name: int(number) for name, number, *_ in lines}


def _left_by_cgroups(root: Path) -> list[int]:
    """Bytes that are left by each limit of the control groups this process is in; in a container there may be one."""
    left = []
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return left
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers not in _CGROUPS:
            continue
        folder, limit, usage, inactive = _CGROUPS[controllers]
        # Groups above have limits as well. What is not there is not this container's to see, and "max" is no limit.
        place = Path(folder, place.lstrip("/"))
        for group in (root / place, *(root / above for above in place.parents)):
            with suppress(OSError, ValueError):
                limited, taken = (int((group / name).read_text()) for name in (limit, usage))
                left.append(max(0, limited - taken + _sizes(group / "memory.stat").get(inactive, 0)))
    return left


def default_budget(device: torch.device) -> int:
    """Bytes that a restoration may use unless it is told: most of a free GPU, half of what the system can give."""
    return int(free_memory(device) * (0.85 if device.type == "cuda" else 0.5))


@dataclass(frozen=True)
class MemoryModel:
    """What restoring frames of one size takes, in bytes; generous estimates.

    Args:
        net: the network.
        height, width: LR frame size in pixels.
        feature_bytes: of one feature value, 4 in float32.
        output: rows and columns of the output, ``None`` for what the network gives.
    """

    net: nn.Module
    height: int
    width: int
    feature_bytes: int = 4
    output: tuple[int, int] | None = None

    @property
    def _native(self) -> tuple[int, int]:
        return self.net.scale * self.height, self.net.scale * self.width

    @property
    def output_size(self) -> tuple[int, int]:
        """Rows and columns of the output."""
        return self._native if self.output is None else self.output

    @property
    def is_resized(self) -> bool:
        """Whether the output has another size than the network gives."""
        return self.output_size != self._native

    @property
    def resizing(self) -> int:
        """What bringing a frame to another size takes, the result and its way to the caller's range included."""
        if not self.is_resized:
            return 0
        rows, columns = self.output_size
        # Rows come first; every pass has its parts and then the whole.
        return _PIXEL_BYTES * (2 * rows * self._native[1] + 4 * rows * columns)

    @property
    def _records_steps(self) -> bool:
        return records_steps(next(self.net.parameters()).device, self.height * self.width)

    @property
    def _feature_pixels(self) -> int:
        stride = self.net.feature_stride
        return -(-self.height // stride) * -(-self.width // stride)

    @property
    def _all_have_features(self) -> bool:
        """Whether every frame has features of its own, rather than keyframes or none."""
        return len(self.net.feature_windows(8)) == 8

    @property
    def _branches_at_once(self) -> bool:
        """Whether both branches run at once wherever states stay in memory; see ``CUDAComponents``."""
        return self._records_steps and self.net.propagation.independent_branches

    @property
    def per_frame(self) -> int:
        """What a frame in memory takes: its states, flows in both directions, the frame and its neighbours' share."""
        # Of the last sweep there is a state a frame only if it runs at once with others.
        sweeps = len(self.net.propagation.sweeps)
        states = sweeps if self._branches_at_once else max(1, sweeps - 1)
        frames = 3 if self.net.cleaning is None else 4
        flows = 2 * 2 * 4
        # A frame that is carried behind the features makes the whole state float32.
        state_bytes = 4 if self.net.alignment.carried_channels else self.feature_bytes
        features = states * self.net.state_channels * state_bytes
        if self._all_have_features:
            features += self.net.mid_channels * self.feature_bytes
        return (features + flows) * self._feature_pixels + frames * _PIXEL_BYTES * self.height * self.width

    @property
    def sum_per_frame(self) -> int:
        """What the sum of an ensemble's turns takes, a frame, where the sequence is in memory."""
        return 0 if self.net.ensemble == 1 else _PIXEL_BYTES * self.net.scale**2 * self.height * self.width

    def working(self, tile: int | None) -> int:
        """What a step takes while it runs, besides the frames."""
        width = self.net.mid_channels / 64
        size = self.feature_bytes / 4
        pixels = self._feature_pixels
        tile_pixels = pixels if tile is None else min(pixels, (tile + MIN_TILE) ** 2)
        refill = _REFILL_BYTES * width if self.net.feature_windows(1) and not self._all_have_features else 0
        enlargement = self.net.scale * self.net.feature_stride
        # The sum of an ensemble's turns comes as a second one, and goes as a third.
        hr_frames = (_HR_FRAMES + 2 * (self.net.ensemble > 1)) * _PIXEL_BYTES * enlargement**2
        whole = _UNTILED_BYTES + refill + self.net.alignment.bytes_per_pixel * width
        untiled = pixels * (size * whole + hr_frames) + self.resizing
        upsampling = _UPSAMPLING_BYTES * enlargement**2
        step = int(_TEMPORARY_BYTES + untiled + tile_pixels * size * max(_STEP_BYTES * width, upsampling))
        if self._branches_at_once:
            # What the other branch's stream has taken stays with that stream.
            step += int(pixels * size * (_UNTILED_BYTES + _STEP_BYTES * width))
        if self._records_steps:
            # What is computed beside the steps, reconstruction and refill, has memory of its own.
            step += int(pixels * size * (upsampling + refill))
        # A step that is recorded has been computed the usual way before, whose memory stays with the allocator.
        return (2 * step if self._records_steps else step) + self.cleaning

    @property
    def cleaning(self) -> int:
        """What cleaning a frame takes: the frames it looks at, and a few layers of some of its rows."""
        cleaning = self.net.cleaning
        if cleaning is None:
            return 0
        pixels = self.height * self.width
        at_once = min(pixels, 2 * PIXELS)
        window = 3 * (2 * cleaning.radius + 1) * _PIXEL_BYTES
        return int(pixels * window + at_once * _CLEANING_LAYERS * cleaning.channels_per_pixel * self.feature_bytes)


def make_plan(
    model: MemoryModel,
    budget: int,
    *,
    num_frames: int | None,
    strategy: str = "auto",
    tile: int | None = None,
    window: int | None = None,
    overlap: int | None = None,
) -> Plan:
    """Choose how to restore a sequence.

    Where ``'window'`` cuts does not depend on the budget, so the result does not either; how each window is restored is
    a plan of its own.

    Args:
        model: what its frames take.
        budget: bytes that may be used.
        num_frames: length, ``None`` if unknown.
        strategy: one of :data:`vsr_plugin.defaults.STRATEGIES`; ``'auto'`` takes whole if that fits, else exact, which
            gives the same, and so does ``'whole'`` where the length is known.
        tile: spatial tiles, by default only where a frame does not fit.
        window: frames kept of each window.
        overlap: frames that a window reads beyond each end.

    Raises:
        VSRError: the budget does not hold one frame, or the arguments do not fit together.
    """
    if strategy not in STRATEGIES:
        raise VSRError(f"strategy {strategy!r} does not exist; choose one of {', '.join(STRATEGIES)}")
    if strategy == "window" and model.net.propagation.cuts_sequences:
        raise VSRError(
            f"strategy 'window' cannot restore with propagation {model.net.propagation}, which cuts a whole sequence; "
            "use 'whole' or 'exact'"
        )
    if tile is not None and tile < MIN_TILE:
        raise VSRError(f"tile {tile} is smaller than the overlap that it needs; use {MIN_TILE} or more")
    if tile is None:
        needed = [(None, model.working(None)), *((t, model.working(t)) for t in _TILES)]
        tile, working = next(((t, w) for t, w in needed if w + _BLOCK_MIN * model.per_frame <= budget), needed[-1])
    else:
        working = model.working(tile)
    room = (budget - working) // model.per_frame
    if room < 1:
        least = working + model.per_frame
        rows, columns = model.output_size
        resized = f" resized to {columns}x{rows}" if model.is_resized else ""
        raise VSRError(
            f"a memory budget of {budget / 2**20:.0f} MiB is too small for frames of {model.width}x{model.height}"
            f"{resized}; give at least {least / 2**20:.0f} MiB"
        )
    if strategy == "window":
        overlap = OVERLAP if overlap is None else overlap
        return Plan("window", (WINDOW if window is None else window) + 2 * overlap, overlap, tile)
    whole_room = (budget - working) // (model.per_frame + model.sum_per_frame)
    if strategy == "whole" and num_frames is None:
        return Plan("whole", max(1, whole_room), tile=tile)
    if strategy in ("whole", "auto") and num_frames is not None and num_frames <= whole_room:
        return Plan("whole", num_frames, tile=tile)
    return Plan("exact", int(min(_BLOCK, room)), tile=tile)
