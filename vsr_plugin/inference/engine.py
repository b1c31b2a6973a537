"""A sequence of any length in bounded memory, with the result of the whole-sequence run.

The network's sweeps run as :mod:`vsr_plugin.ops.sweeps` runs them, block of frames by block. What a later sweep
needs is kept in a :class:`TensorCache`, in memory or on disk: flows, features, and of every sweep but the last either
the states of all frames or only those at the borders of blocks, from which the others are computed again. The last
sweep hands out HR frames.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.acceleration.guard import FiniteGuard, NotFiniteError
from vsr_plugin.inference.storage import ALL_SWEPT, SWEPT, DiskCache, TensorCache, write_note
from vsr_plugin.ops.frames import Frame, frame_to_tensor
from vsr_plugin.ops.padding import pad_to_multiple
from vsr_plugin.ops.sweeps import Carried, Store, Sweep, begin_frames, delayed, half_way, run_sweeps


def border_kind(sweep: Sweep) -> str:
    """What the last states of a sweep where it enters blocks are kept as, ``order`` a block."""
    return f"{sweep.name}_border"


class BlockStore(Store):
    """Frames of one sequence block by block, and a cache for what is computed from them.

    Args:
        net: gives flows and features, on the device that computes.
        frames: the sequence; read by index, a block at a time, once for every sweep.
        size: frames whose LR versions, flows and states may be in memory together.
        cache: where tensors are kept. With a ``DiskCache`` memory does not grow with the length.
        keep_states: keep the states of all frames in ``cache`` (room for all of them, least work); if false, only
            those at the borders of blocks, and compute the others again.
        watch: is shown all flow.
    """

    def __init__(
        self,
        net: nn.Module,
        frames: Sequence[Frame],
        *,
        size: int,
        cache: TensorCache,
        keep_states: bool,
        watch: Callable[..., None],
    ):
        super().__init__(net.propagation, len(frames))
        self._net, self._frames, self._cache, self._watch = net, frames, cache, watch
        self._device = next(net.parameters()).device
        self._windows = net.feature_windows(len(frames))
        self._needs_flow = net.alignment.needs_flow
        self.keep_states = keep_states
        self.blocks = [range(start, min(start + size, len(frames))) for start in range(0, len(frames), size)]
        self._block = range(0)
        self._lrs: Tensor | None = None
        self._again: dict[str, dict[int, Tensor]] = {}

    def lrs(self, indices: Sequence[int]) -> Tensor:
        """Frames ``(1, t, 3, h, w)`` with sides that the network takes."""
        lrs = torch.stack([frame_to_tensor(self._frames[i], self._device) for i in indices])[None]
        return pad_to_multiple(lrs, self._net.size_multiple)

    def load(self, number: int) -> None:
        """Go to a block: its frames are in memory from here on, and no others."""
        self._block, self._again = self.blocks[number], {}
        self._lrs = self.lrs(self._block)

    def estimate(self, number: int) -> None:
        """Go to a block, and compute and keep its flows and features."""
        block, self._again = self.blocks[number], {}
        # The pair across the end of the block belongs to it.
        last = min(block.stop, len(self._frames) - 1)
        self._block, self._lrs = block, self.lrs(range(block.start, last + 1))
        if self._needs_flow:
            flows_forward, flows_backward = self._net.estimate_flows(self._lrs)
            self._watch(flows_forward, flows_backward)  # warping may turn NaN into zeros
            for k, i in enumerate(range(block.start, last)):
                self._cache.put("flow_forward", i, flows_forward[:, k])
                self._cache.put("flow_backward", i, flows_backward[:, k])
        for i in block:
            if i in self._windows:
                self._cache.put("feature", i, self._net.frame_feature(self.lrs(self._windows[i])))

    def _take(self, kind: str, number: int) -> Tensor:
        return self._cache.take(kind, number, self._device)

    def lr(self, i: int) -> Tensor:
        return self._lrs[:, i - self._block.start]

    def flow(self, i: int, *, reverse: bool) -> Tensor | None:
        if not self._needs_flow:
            return None
        return self._take("flow_backward", i) if reverse else self._take("flow_forward", i - 1)

    def feature(self, i: int) -> Tensor | None:
        return self._take("feature", i) if i in self._windows else None

    def state(self, sweep: Sweep, i: int) -> Tensor:
        """From the cache, or else from those of the block, which are computed again when the first is asked for."""
        if self._keeps(sweep, i):
            return self._take(sweep.name, i)
        if sweep.name not in self._again:
            carried = {sweep.name: self.border(sweep, self._block)}
            states = run_sweeps(self._net, (sweep,), self._block, self, carried)
            self._again[sweep.name] = {j: state for (j,), (state,) in states}
        return self._again[sweep.name][i]

    def _keeps(self, sweep: Sweep, i: int) -> bool:
        if self.keep_states:
            return True
        # What the sweep before the last ends with is asked for next.
        return sweep.reverse and sweep in self._net.propagation.sweeps[-2:-1] and i in self.blocks[0]

    def keep(self, sweep: Sweep, i: int, state: Tensor) -> None:
        if self._keeps(sweep, i):
            self._cache.put(sweep.name, i, state)

    def keep_border(self, sweep: Sweep, number: int, states: tuple[Tensor, ...]) -> None:
        """Keep the last states of a sweep where it enters block ``number``, the latest first."""
        for k in range(sweep.order):
            # Where there are fewer the last one stands in; it is not asked for.
            self._cache.put(border_kind(sweep), number * sweep.order + k, states[min(k, len(states) - 1)])

    def drop_border(self, sweep: Sweep, number: int) -> None:
        """Say that what was kept there is not needed any more."""
        for k in range(sweep.order):
            self._cache.drop(border_kind(sweep), number * sweep.order + k)

    def border(self, sweep: Sweep, block: range) -> tuple[Tensor, ...]:
        """The last states of a sweep where it enters a block, as :meth:`keep_border` has kept them."""
        count, number = self.neighbours(sweep, sweep.in_order(block)[0]), self.blocks.index(block)
        return tuple(self._take(border_kind(sweep), number * sweep.order + k) for k in range(count))

    def done(self, i: int) -> None:
        sweeps = self._net.propagation.sweeps
        for sweep in sweeps:
            self._again.get(sweep.name, {}).pop(i, None)
            self._cache.drop(sweep.name, i)
        oldest = max(sweep.order for sweep in sweeps)
        for kind, j in (("feature", i), ("flow_forward", i - oldest), ("flow_backward", i)):
            self._cache.drop(kind, j)


class SequenceRestorer:
    """Restores one sequence, block by block.

    Args:
        net: a network that :mod:`vsr_plugin.ops.sweeps` can run, in evaluation mode, on the device that computes.
        frames: the sequence; read by index, forward and backward, a block at a time.
        block: frames whose LR versions, flows and states may be in memory together.
        cache, keep_states: see :class:`BlockStore`.
        on_step: called with the index of a frame when half of the work on it is done, and when it is restored.
        guard: is shown all flow, every state and every frame.
    """

    def __init__(
        self,
        net: nn.Module,
        frames: Sequence[Frame],
        *,
        block: int,
        cache: TensorCache,
        keep_states: bool,
        on_step: Callable[[int], None] | None = None,
        guard: FiniteGuard | None = None,
    ):
        self.net = net
        self.cache = cache
        self.on_step = on_step or (lambda i: None)
        self.watch = guard.watch if guard is not None else (lambda *tensors: None)
        self.store = BlockStore(net, frames, size=block, cache=cache, keep_states=keep_states, watch=self.watch)
        self._size = frame_to_tensor(frames[0], next(net.parameters()).device).shape[1:]
        self.schedule = [(sweep,) for sweep in net.propagation.sweeps]
        if len(self.store.blocks) == 1 and keep_states and not isinstance(cache, DiskCache):
            with torch.no_grad():  # as in the sweeps
                self.schedule = net.schedule(self.store.lrs([0]))
        *self._earlier, self._last = self.schedule
        if len(self._last) > 1:
            # What goes at once comes to an end before a frame is restored.
            self._earlier = self.schedule

    def sweep(self, done: tuple[int, int] | None = None) -> Iterator[tuple[int, int]]:
        """All but the last sweep; yields what is done when all that the later ones need of it is kept.

        Args:
            done: continue after it: numbers of a pass and of a block, which an earlier process yielded with the same
                settings.

        Yields:
            ``(number of the pass, number of the block)``; each pass in its own direction.
        """
        for number in range(max(1, len(self._earlier))):
            group = self._earlier[number] if self._earlier else ()
            # Without an earlier sweep this pass estimates only, and from the end, as one that goes backward would.
            order = self._in_order(group[0] if group else Sweep("", reverse=True))
            if done is not None and number <= done[0]:
                order = order[order.index(done[1]) + 1 :] if number == done[0] else []
            for block in self._sweep_blocks(number, group, order):
                yield number, block

    def _in_order(self, sweep: Sweep) -> list[int]:
        return list(sweep.in_order(range(len(self.store.blocks))))

    def _sweep_blocks(self, number: int, group: tuple[Sweep, ...], order: list[int]) -> Iterator[int]:
        store, half = self.store, half_way(self.net.propagation)
        made = sum(map(len, self._earlier[:number]))
        carried: Carried = {}
        if order and len(group) == 1:
            carried[group[0].name] = store.border(group[0], store.blocks[order[0]])
        for block in order:
            (store.load if number else store.estimate)(block)
            if not half and not number:
                for i in reversed(store.blocks[block]):
                    self.on_step(i)
            if group:
                for indices, states in run_sweeps(self.net, group, store.blocks[block], store, carried):
                    for sweep, i, state in zip(group, indices, states, strict=True):
                        # Those of the last are watched when their frame is restored: others may still be handed out.
                        if sweep is not self._last[-1]:
                            self.watch(state)
                        store.keep(sweep, i, state)
                    if made < half <= made + len(group):
                        self.on_step(indices[0])
                for sweep in group:
                    following = block + (-1 if sweep.reverse else 1)
                    if len(group) == 1 and 0 <= following < len(store.blocks):
                        store.keep_border(sweep, following, carried[sweep.name])
            yield block

    def sweep_last(self, first_block: int = 0) -> Iterator[tuple[int, Tensor]]:
        """The last sweep; yields ``(i, HR frame (3, scale * h, scale * w))``, not clipped, in order.

        Its states at the start of a block are kept before the first frame of the block is handed out.

        Args:
            first_block: where to begin; the states there must have been kept.
        """
        store, last = self.store, self._last[-1]
        scale, (h, w) = self.net.scale, self._size
        carried: Carried = {}
        if first_block:
            carried[last.name] = store.border(last, store.blocks[first_block])
        for number in range(first_block, len(store.blocks)):
            if number > first_block:
                store.keep_border(last, number, carried[last.name])
                self.cache.sync()  # segments that count must not outlive what comes after them
                store.drop_border(last, number - 1)
            store.load(number)
            begun = begin_frames(self.net, self._last, store.blocks[number], store, carried)
            # All frames of a block are handed out before anything that it can be begun again from is dropped.
            for i, states, result in delayed(begun, self.net.lookahead(store.lr(store.blocks[number].start))):
                hr = result()
                self.watch(states[last], hr)
                self.on_step(i)
                yield i, hr[0, :, : scale * h, : scale * w]


def without_gradients(steps: Iterator) -> Iterator:
    """Run an iterator with gradients off, but not the code of its consumer.

    The mode is entered for each step alone: around a ``yield`` it would leak into the caller.
    """
    while True:
        with torch.no_grad():
            item = next(steps, None)
        if item is None:
            return
        yield item


def restore_piece(
    net: nn.Module,
    frames: Sequence[Frame],
    *,
    block: int,
    cache: TensorCache,
    keep_states: bool = True,
    first_block: int = 0,
    on_step: Callable[[int], None] | None = None,
    guard: FiniteGuard | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Restore a sequence that is propagated as one; see :class:`SequenceRestorer` for the arguments.

    With a ``DiskCache`` in a folder that outlives the process, a later call with the same arguments goes on where
    this one was: a sweep that was cut off goes on at its last whole block, and with ``first_block=j`` the
    frames from block ``j`` on are restored, bit for bit as without the interruption, provided that the first
    frame of block ``j`` had been handed out or asked for.

    Yields:
        ``(i, HR frame (3, scale * h, scale * w))``, not clipped to [0, 1].

    Raises:
        NotFiniteError: with a guard, and a ``DiskCache``: a number of a sweep before the last is not finite. It is
            asked there block by block, since a later call does not see the sweep again.
    """
    restorer = SequenceRestorer(
        net, frames, block=block, cache=cache, keep_states=keep_states, on_step=on_step, guard=guard
    )
    if isinstance(cache, DiskCache):
        with closing(SweepJournal(cache)) as journal:
            if not journal.finished():
                for done in without_gradients(restorer.sweep(journal.done())):
                    if guard is not None and guard.tripped():
                        raise NotFiniteError
                    journal.record(done)
                journal.finish()
    else:
        deque(without_gradients(restorer.sweep()), maxlen=0)
    yield from without_gradients(restorer.sweep_last(first_block))


class SweepJournal:
    """How far the sweeps of a ``DiskCache`` have come, across processes."""

    def __init__(self, cache: DiskCache):
        self._cache, self._path = cache, cache.folder / SWEPT
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vsr-journal")
        self._noting: Future | None = None

    def done(self) -> tuple[int, int] | None:
        """The pass and the block that were swept last; ``None`` before the first."""
        if not self._path.exists():
            return None
        number, block = self._path.read_text().split()
        return int(number), int(block)

    def finished(self) -> bool:
        """Whether all sweeps but the last have come to their end."""
        return self._path.exists() and self._path.read_text() == ALL_SWEPT

    def record(self, done: tuple[int, int]) -> None:
        """Note a block as swept as soon as its tensors are on the disk, which is not waited for.

        Raises:
            MediaError: the disk is full or fails, perhaps at the block before.
        """
        self._wait()
        self._noting = self._thread.submit(self._note, f"{done[0]} {done[1]}")

    def finish(self) -> None:
        """Note that all is swept; raises as :meth:`record`."""
        self._wait()
        self._noting = self._thread.submit(self._note, ALL_SWEPT)

    def _note(self, text: str) -> None:
        self._cache.sync()
        write_note(self._path, text)

    def _wait(self) -> None:
        if self._noting is not None:
            self._noting.result()

    def close(self) -> None:
        """Wait until what was recorded is noted; raises as :meth:`record`."""
        self._thread.shutdown()
        self._wait()
