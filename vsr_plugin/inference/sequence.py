"""One sequence by one plan, stepping down to a plan that needs less when the memory runs out."""

import gc
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.acceleration import FiniteGuard, NotFiniteError
from vsr_plugin.acceleration.cuda.graphs import release_graphs
from vsr_plugin.errors import MediaError, VSRError, not_finite
from vsr_plugin.inference.cleaning import clean_sequence
from vsr_plugin.inference.engine import border_kind, restore_piece
from vsr_plugin.inference.ensemble import Turn, TurnedFrames, mean_of_turns
from vsr_plugin.inference.output_size import fitted
from vsr_plugin.inference.planning import Plan
from vsr_plugin.inference.storage import DiskCache, MemoryCache, Spill, TensorCache, write_note
from vsr_plugin.inference.tiling import tile_net
from vsr_plugin.ops.frames import Download, Frame, frame_to_tensor
from vsr_plugin.ops.resize import bicubic_resize, frame_sides
from vsr_plugin.ops.sweeps import Sweep

#: Frames that a GPU works on while the check of an earlier one is on its way to the host.
_FRAMES_AHEAD = 2


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a GPU or in the system."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and ("not enough memory" in str(error) or "allocate memory" in str(error))


def _choose_cache(stack: ExitStack, plan: Plan, folder: Path) -> TensorCache:
    if plan.strategy != "exact":
        return MemoryCache()
    return stack.enter_context(closing(DiskCache(folder)))


def _folder_of_attempt(stack: ExitStack, plan: Plan, folder: Path, persistent: bool, precise: bool) -> Path:
    if not persistent:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
    # By the length of blocks and precision, which decide what the records mean.
    attempt = folder / f"blocks-of-{plan.block}{'' if precise else '-reduced'}"
    attempt.mkdir(exist_ok=True)
    return attempt


def _checked(restored: Iterable[tuple[int, Tensor]], guard: FiniteGuard) -> Iterator[tuple[int, Tensor]]:
    """Frames that no infinite number has reached; on a GPU each comes when later ones are queued behind it.

    Raises:
        NotFiniteError: in place of the first other frame.
    """
    waiting: deque[tuple[int, Tensor, Download]] = deque()

    def next_checked() -> tuple[int, Tensor]:
        i, hr, overflows = waiting.popleft()
        if overflows.result():
            raise NotFiniteError
        return i, hr

    for i, hr in restored:
        waiting.append((i, hr, Download(guard.flag())))
        if len(waiting) > _FRAMES_AHEAD * hr.is_cuda:
            yield next_checked()
    while waiting:
        yield next_checked()


class _StatesGivenUpError(Exception):
    """The disk became full, and has room again without the states that were kept there."""


def _restore_turned(
    net: nn.Module,
    frames: Sequence[Frame],
    plan: Plan,
    given: int,
    on_step: Callable[[int], None] | None,
    guard: FiniteGuard,
    attempt: Path,
    turn: Turn | None,
    folder: Path,
    is_last: bool,
) -> Iterator[tuple[int, Tensor]]:
    """What one turn makes of a sequence, once; see :func:`restore_sequence` and :func:`mean_of_turns`.

    Raises:
        _StatesGivenUpError: see there.
    """
    height, width = frame_sides(frames[0])
    block = len(frames) if plan.strategy == "whole" else plan.block
    with ExitStack() as stack:
        cache = _choose_cache(stack, plan, folder)
        spill = None
        if plan.strategy == "exact":
            spill = Spill(folder, net, len(frames), height * width, block, whole=attempt)
        keep_states = spill is None or spill.keeps_states()
        try:
            sequence = frames if turn is None else TurnedFrames(frames, turn)
            if net.cleaning is not None:
                sequence = stack.enter_context(closing(clean_sequence(net.cleaning, sequence, folder, block)))
            restored = restore_piece(
                tile_net(net, plan.tile) if plan.tile else net,
                sequence,
                block=block,
                cache=cache,
                keep_states=keep_states,
                first_block=_first_block(cache, net.propagation.sweeps[-1], given // block) if is_last else 0,
                on_step=on_step,
                guard=guard,
            )
            yield from _checked(restored, guard)
        except MediaError as error:
            if spill is None or not spill.give_up_states(error):
                raise
            raise _StatesGivenUpError from error


class _OverflowMark:
    """From which frame on a sequence is done in float32, known to later processes if the folder is persistent."""

    def __init__(self, folder: Path, persistent: bool):
        self._path, self._persistent = folder / "overflowed", persistent

    def set(self, frame: int) -> None:
        if self._persistent:
            write_note(self._path, str(frame))

    def reached(self, frame: int) -> bool:
        return self._persistent and self._path.exists() and frame >= int(self._path.read_text())


def _first_block(cache: TensorCache, last: Sweep, wanted: int) -> int:
    """The block to go on at: the one that is wanted if an earlier process kept the states there, else the first."""
    held = isinstance(cache, DiskCache) and cache.holds(border_kind(last), (wanted + 1) * last.order - 1)
    return wanted if held else 0


def restore_sequence(
    net: nn.Module,
    frames: Sequence[Frame],
    plan: Plan,
    *,
    folder: Path,
    persistent: bool = False,
    first_frame: int = 0,
    stop_frame: int | None = None,
    size: tuple[int, int] | None = None,
    strength: float = 1.0,
    precise_net: Callable[[], nn.Module] | None = None,
    on_step: Callable[[int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Restore a sequence that is propagated as one.

    When the memory does not suffice, the work begins again with a plan that needs less and the same result, and
    goes on behind the frame that was handed out last.

    Args:
        net: a network with the steps of a ``VSRNet``, in evaluation mode; its cleaning comes first, if it has one, and
            it runs as often as its ``ensemble`` says.
        frames: the sequence, read by index more than once.
        plan: how to begin.
        folder: where tensors go that do not stay in memory; an existing folder.
        persistent: leave in ``folder`` what another process needs to go on where this one was stopped; else
            nothing is left there.
        first_frame: hand out the frames from here on. In a persistent folder of the exact strategy the work goes
            on at the start of this frame's block, if an earlier process came that far; else from the beginning.
        stop_frame: frames from this one on will not be asked for; in a persistent folder always the same.
        size: rows and columns of the frames that are handed out, by default those that the network gives.
        strength: share of the restored frame in what is handed out, the rest being bicubic enlargement.
        precise_net: makes the same network in float32, for a ``net`` of lower precision: when a number is not finite,
            the sequence is begun again with it, and no frame that such a number has reached is handed out.
        on_step: called with the index of a frame after its backward step and when it is restored, by each turn of an
            ensemble; counted anew after a step down.
        on_note: called with a line for a person when the plan changes.

    Yields:
        ``(i, HR frame (3, H, W))``, not clipped to [0, 1].

    Raises:
        VSRError: the memory does not suffice for the smallest plan either, or a number is not finite in float32.
        MediaError: the disk is full, or is known to become so.
    """
    given = first_frame
    height, width = frame_sides(frames[0])
    precise = precise_net is None
    mark = _OverflowMark(folder, persistent)
    overflow = not precise and mark.reached(given)
    while True:
        guard = FiniteGuard()
        if overflow:
            net, precise = precise_net(), True
            if on_note is not None:
                on_note(
                    f"a number overflows the precision at frame {given}; from there on the sequence is done in fp32"
                )
        overflow = states_given_up = False
        with ExitStack() as stack:
            attempt = _folder_of_attempt(stack, plan, folder, persistent, precise=precise)
            turned = partial(_restore_turned, net, frames, plan, given, on_step, guard, attempt)
            if net.ensemble == 1:
                restored = turned(None, attempt, True)
            else:
                on_disk = plan.strategy == "exact"
                restored = mean_of_turns(turned, net.ensemble, attempt, on_disk=on_disk, stop_frame=stop_frame)
            stack.enter_context(closing(restored))
            try:
                for i, hr in restored:
                    if i >= given:
                        if strength < 1:
                            lr = frame_to_tensor(frames[i], hr.device)
                            hr = torch.lerp(bicubic_resize(lr, tuple(hr.shape[-2:])), hr.float(), strength)
                        hr = hr if size is None else fitted(hr, size)
                        given = i + 1
                        yield i, hr
                return
            except NotFiniteError as error:
                if precise:
                    raise not_finite(given) from error
                overflow = True
            except _StatesGivenUpError:
                states_given_up = True
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
        # Out of the handler, whose traceback would keep the tensors of the failed attempt alive.
        restored = turned = None
        release_graphs(net)
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()  # another stream may still read what is given back
            torch.cuda.empty_cache()
        if overflow:
            mark.set(given)
            continue
        if states_given_up:
            if on_note is not None:
                on_note("the disk is full: states are computed again instead of kept there")
            continue
        smaller = plan.smaller()
        if smaller is None:
            raise VSRError(f"out of memory with the smallest plan ({plan}) for frames of {width}x{height}")
        if on_note is not None:
            on_note(f'out of memory with the plan "{plan}"; going on with "{smaller}"')
        plan = smaller
