"""The recurrence over one sequence of any length in bounded memory, with the result of the whole-sequence run.

A first sweep goes backward in time and keeps, per segment, what the second needs: flows, keyframe features, and the
backward state of every frame or only that at the start of each segment, from which the others are computed again. The
second sweep goes forward and hands out HR frames. Both call the network's own steps in the order of
:class:`vsr_plugin.models.propagation.Recurrence`, so the numbers are the same. Where a network computes both branches
at once and all states are in memory, the first sweep runs both, and the second only reconstructs.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.acceleration.guard import FiniteGuard, NotFiniteError
from vsr_plugin.files import write_text
from vsr_plugin.inference.state_store import DiskCache, TensorCache
from vsr_plugin.models.propagation.recurrence import delayed
from vsr_plugin.ops.frames import Frame, frame_to_tensor
from vsr_plugin.ops.padding import pad_to_multiple


class SequenceRestorer:
    """Restores one sequence, segment by segment.

    Args:
        net: a network with the steps of a ``VSRNet``, in evaluation mode, on the device that computes.
        frames: the sequence; read by index, forward and backward, a segment at a time.
        segment: frames whose LR versions, flows and states may be in memory together.
        cache: where the tensors between the sweeps are kept. With a ``DiskCache`` memory does not grow with the length.
        keep_states: keep the backward state of every frame in ``cache`` (room for all of them, least work); if
            false, only one a segment, and compute the others again (about a third more work).
        on_step: called with the index of a frame after its backward step of the first sweep and when it is restored.
        guard: is shown all flow, every state and every frame.
    """

    def __init__(
        self,
        net: nn.Module,
        frames: Sequence[Frame],
        *,
        segment: int,
        cache: TensorCache,
        keep_states: bool,
        on_step: Callable[[int], None] | None = None,
        guard: FiniteGuard | None = None,
    ):
        self.net = net
        self.frames = frames
        self.cache = cache
        self.keep_states = keep_states
        self.on_step = on_step or (lambda i: None)
        self.watch = guard.watch if guard is not None else (lambda *tensors: None)
        self.device = next(net.parameters()).device
        self.keyframe_windows = net.keyframe_windows(len(frames))
        # First frames of the runs that local propagation restores apart; elsewhere only that of the sequence.
        self.starts = {run.start for run in net.propagation.segments(len(frames))}
        self.segments = [range(start, min(start + segment, len(frames))) for start in range(0, len(frames), segment)]
        first = frame_to_tensor(frames[0], self.device)
        self._size = first.shape[1:]
        self.at_once = False
        if len(self.segments) == 1 and keep_states and not isinstance(cache, DiskCache):
            with torch.no_grad():  # as in the sweeps
                self.at_once = net.branches_at_once(pad_to_multiple(first[None], net.size_multiple))

    def _lrs(self, indices: Sequence[int]) -> Tensor:
        lrs = torch.stack([frame_to_tensor(self.frames[i], self.device) for i in indices])[None]
        return pad_to_multiple(lrs, self.net.size_multiple)

    def _take(self, kind: str, number: int) -> Tensor:
        return self.cache.take(kind, number, self.device)

    def _estimate(self, segment: range) -> Tensor:
        """Compute and keep the flows and keyframe features of a segment, and return its frames."""
        # The pair across the end of the segment belongs to it.
        last = min(segment.stop, len(self.frames) - 1)
        lrs = self._lrs(range(segment.start, last + 1))
        if self.net.alignment.needs_flow:
            flows_forward, flows_backward = self.net.estimate_flows(lrs)
            self.watch(flows_forward, flows_backward)  # warping may turn NaN into zeros
            for k, i in enumerate(range(segment.start, last)):
                self.cache.put("flow_forward", i, flows_forward[:, k])
                self.cache.put("flow_backward", i, flows_backward[:, k])
        for i in segment:
            if i in self.keyframe_windows:
                self.cache.put("refill", i, self.net.refill_feature(self._lrs(self.keyframe_windows[i])))
        return lrs

    def _refill(self, i: int) -> Tensor | None:
        return self._take("refill", i) if i in self.keyframe_windows else None

    def _flow(self, kind: str, i: int, state: Tensor | None) -> Tensor | None:
        """Flow that a state is aligned with, if there is a state and it is aligned with flow."""
        return self._take(kind, i) if state is not None and self.net.alignment.needs_flow else None

    def _backward(self, lrs: Tensor, segment: range, state: Tensor | None) -> Iterator[tuple[int, Tensor]]:
        """States of a segment from its last frame to its first, given the state after it."""
        for i in reversed(segment):
            if i + 1 in self.starts:
                state = None
            flow = self._flow("flow_backward", i, state)
            state = self.net.backward_step(lrs[:, i - segment.start], flow, state, self._refill(i))
            self.watch(state)
            yield i, state

    def _sweep_both(self) -> None:
        """First sweep of both branches, over a sequence that is one segment, from its two ends; keeps all states."""
        segment = self.segments[0]
        lrs = self._estimate(segment)
        backward = forward = None
        for i, j in zip(reversed(segment), segment, strict=True):
            if i + 1 in self.starts:
                backward = None
            if j in self.starts:
                forward = None
            backward, forward = self.net.both_steps(
                (lrs[:, i], self._flow("flow_backward", i, backward), backward, self._refill(i)),
                (lrs[:, j], self._flow("flow_forward", j - 1, forward), forward, None, self._refill(j)),
            )
            # The forward state is watched when its frame is restored: those before it may still be handed out.
            self.watch(backward)
            self.cache.put("state", i, backward)
            self.cache.put("forward_state", j, forward)
            self.on_step(i)

    def sweep_backward(self, swept: int | None = None) -> Iterator[int]:
        """First sweep; yields the number of every segment when all that the second needs of it is kept.

        Args:
            swept: continue after this segment, which an earlier process swept with the same settings.
        """
        if self.at_once:
            self._sweep_both()
            yield 0
            return
        numbers = range(len(self.segments) if swept is None else swept)
        has_backward = self.net.propagation.has_backward
        state = self._take("boundary", swept) if swept is not None and has_backward else None
        for number in reversed(numbers):
            segment = self.segments[number]
            lrs = self._estimate(segment)
            if has_backward:
                for i, new_state in self._backward(lrs, segment, state):
                    state = new_state
                    # The states of the first segment are used next, so they are kept even if the others are not.
                    if self.keep_states or number == 0:
                        self.cache.put("state", i, state)
                    self.on_step(i)
                self.cache.put("boundary", number, state)
            else:
                for i in reversed(segment):
                    self.on_step(i)
            yield number

    def _states(self, number: int, lrs: Tensor) -> dict[int, Tensor]:
        """Backward states of a segment that were not kept, computed again."""
        if self.keep_states or number == 0 or not self.net.propagation.has_backward:
            return {}
        after = number + 1
        state = self._take("boundary", after) if after < len(self.segments) else None
        return dict(self._backward(lrs, self.segments[number], state))

    def _backward_feat(self, i: int, states: dict[int, Tensor]) -> Tensor | None:
        """Backward state of a frame, from those computed again or else from the cache, which is done with it."""
        if not self.net.propagation.has_backward:
            return None
        feat = states.pop(i) if states else self._take("state", i)
        self.cache.drop("state", i)
        return feat

    def _forward_feat(self, i: int, lr: Tensor, state: Tensor | None, backward_feat: Tensor | None) -> Tensor:
        """Forward state of a frame, from the first sweep if that ran both branches, else computed from the last one."""
        if self.at_once:
            feat = self._take("forward_state", i)
            self.cache.drop("forward_state", i)
            return feat
        if i in self.starts:
            state = None
        flow = self._flow("flow_forward", i - 1, state)
        return self.net.forward_step(lr, flow, state, backward_feat, self._refill(i))

    def sweep_forward(self, first_segment: int = 0) -> Iterator[tuple[int, Tensor]]:
        """Second sweep; yields ``(i, HR frame (3, scale * h, scale * w))``, not clipped, in order.

        The forward state at the start of a segment is kept before the first frame of the segment is handed out.

        Args:
            first_segment: where to begin; the state there must have been kept.
        """
        scale, (h, w) = self.net.scale, self._size
        state = self._take("forward", first_segment) if first_segment > 0 else None
        for number in range(first_segment, len(self.segments)):
            segment = self.segments[number]
            if number > first_segment:
                self.cache.put("forward", number, state)
                self.cache.sync()  # segments that count must not outlive what comes after them
                self.cache.drop("forward", number - 1)
            lrs = self._lrs(segment)
            states = self._states(number, lrs)
            # All frames of a segment are handed out before anything that it can be begun again from is dropped.
            begun = self._forward(segment, lrs, states, state)
            for i, state, result in delayed(begun, self.net.frames_under_way(lrs)):
                hr = result()
                self.watch(state, hr)
                self.on_step(i)
                yield i, hr[0, :, : scale * h, : scale * w]

    def _forward(
        self, segment: range, lrs: Tensor, states: dict[int, Tensor], state: Tensor | None
    ) -> Iterator[tuple[int, Tensor, Callable[[], Tensor]]]:
        """Frames of a segment from the state before it on, each with its state and what gives the HR frame."""
        for i in segment:
            lr = lrs[:, i - segment.start]
            backward_feat = self._backward_feat(i, states)
            state = self._forward_feat(i, lr, state, backward_feat)
            for kind, j in (("refill", i), ("flow_forward", i - 1), ("flow_backward", i)):
                self.cache.drop(kind, j)
            yield i, state, self.net.begin_reconstruct(lr, backward_feat, state)


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
    segment: int,
    cache: TensorCache,
    keep_states: bool = True,
    first_segment: int = 0,
    on_step: Callable[[int], None] | None = None,
    guard: FiniteGuard | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Restore a sequence that is propagated as one; see :class:`SequenceRestorer` for the arguments.

    With a ``DiskCache`` in a folder that outlives the process, a later call with the same arguments goes on where
    this one was: a first sweep that was cut off goes on at its last whole segment, and with ``first_segment=j`` the
    frames from segment ``j`` on are restored, bit for bit as without the interruption, provided that the first
    frame of segment ``j`` had been handed out or asked for.

    Yields:
        ``(i, HR frame (3, scale * h, scale * w))``, not clipped to [0, 1].

    Raises:
        NotFiniteError: with a guard, and a ``DiskCache``: a number of the first sweep is not finite. It is asked there
            segment by segment, since a later call does not see the sweep again.
    """
    restorer = SequenceRestorer(
        net, frames, segment=segment, cache=cache, keep_states=keep_states, on_step=on_step, guard=guard
    )
    if isinstance(cache, DiskCache):
        with closing(SweepJournal(cache)) as journal:
            if (swept := journal.swept()) != 0:
                for number in without_gradients(restorer.sweep_backward(swept)):
                    if guard is not None and guard.tripped():
                        raise NotFiniteError
                    journal.record(number)
    else:
        deque(without_gradients(restorer.sweep_backward()), maxlen=0)
    yield from without_gradients(restorer.sweep_forward(first_segment))


class SweepJournal:
    """How far the first sweep of a ``DiskCache`` has come, across processes."""

    def __init__(self, cache: DiskCache):
        self._cache, self._path = cache, cache.folder / "swept"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vsr-journal")
        self._noting: Future | None = None

    def swept(self) -> int | None:
        """The last segment swept, 0 at the end of the sweep; ``None`` before the first."""
        return int(self._path.read_text()) if self._path.exists() else None

    def record(self, number: int) -> None:
        """Note a segment as swept as soon as its tensors are on the disk, which is not waited for.

        Raises:
            MediaError: the disk is full or fails, perhaps at the segment before.
            OSError: likewise.
        """
        self._wait()
        self._noting = self._thread.submit(self._note, number)

    def _note(self, number: int) -> None:
        self._cache.sync()
        write_text(self._path, str(number))

    def _wait(self) -> None:
        if self._noting is not None:
            self._noting.result()

    def close(self) -> None:
        """Wait until what was recorded is noted; raises as :meth:`record`."""
        self._thread.shutdown()
        self._wait()
