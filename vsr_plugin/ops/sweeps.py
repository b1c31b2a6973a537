"""The driver: runs a schedule of sweeps over a sequence, whatever keeps the states and computes steps (section 3.1).

A propagation declares sweeps as data (:class:`Sweep`), a network supplies their steps, and a :class:`Store` what a step
takes: frames, flows, features, states. Training and whole sequences keep all of it in memory
(:mod:`vsr_plugin.models.driver`), exact streaming keeps it on disk (:mod:`vsr_plugin.inference.engine`), exported
networks run in another runtime (:mod:`vsr_plugin.export.onnx_restorer`); all run the two functions of this file, which
needs no PyTorch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

    from vsr_plugin.models.driver import SequenceNet
    from vsr_plugin.models.propagation import Propagation

Item = TypeVar("Item")


@dataclass(frozen=True)
class Sweep:
    """One pass over a sequence, from frame to frame.

    Attributes:
        name: that its states are kept under.
        reverse: it goes backward in time.
        order: states of so many neighbours go into a step; 1 in BasicVSR and IconVSR, 2 in BasicVSR++.
        sees: earlier sweeps whose state of the same frame goes into a step.
    """

    name: str
    reverse: bool = False
    order: int = 1
    sees: tuple[Sweep, ...] = ()

    def in_order(self, frames: range) -> range:
        """The frames in the order of the sweep."""
        return frames[::-1] if self.reverse else frames


#: Sweeps that run at once, step by step from both ends of the sequence; most groups are one sweep.
Group = tuple[Sweep, ...]
#: The last states of each sweep by its name, the latest first: what goes from one block of frames to the next.
Carried = dict[str, tuple["Tensor", ...]]


class StepInputs(NamedTuple):
    """What a step takes at frame ``i``.

    Attributes:
        lr: frame ``(n, 3, h, w)``.
        flows: ``order`` flows ``(n, 2, h, w)``: from the frame to its neighbour where the sweep comes from, from that
            neighbour to the next, and so on; ``None`` where the sequence begins, or without flow.
        states: of those ``order`` neighbours, the nearest first; ``None`` where the sequence begins.
        seen: states of the same frame by the sweeps that this one sees, in their order.
        feature: of the frame, if it has one: of a keyframe in IconVSR, else ``None``.
    """

    lr: Tensor
    flows: tuple[Tensor | None, ...]
    states: tuple[Tensor | None, ...]
    seen: tuple[Tensor, ...]
    feature: Tensor | None


class Store(ABC):
    """Frames of one sequence, and what is computed from them, by number of the frame.

    Args:
        propagation: says where in the sequence propagation starts anew.
        num_frames: length of the sequence.
    """

    def __init__(self, propagation: Propagation, num_frames: int) -> None:
        self.runs = propagation.segments(num_frames)
        self._run_of = [run for run in self.runs for _ in run]

    @abstractmethod
    def lr(self, i: int) -> Tensor:
        """Frame ``i``, ``(n, 3, h, w)``, extended to sides that the network takes."""

    @abstractmethod
    def flow(self, i: int, *, reverse: bool) -> Tensor | None:
        """Flow from frame ``i`` to the next if ``reverse``, else to the one before; ``None`` without flow."""

    @abstractmethod
    def feature(self, i: int) -> Tensor | None:
        """Feature of frame ``i``, if it has one."""

    @abstractmethod
    def state(self, sweep: Sweep, i: int) -> Tensor:
        """State of frame ``i`` that was kept."""

    @abstractmethod
    def keep(self, sweep: Sweep, i: int, state: Tensor) -> None:
        """Keep a state."""

    @abstractmethod
    def done(self, i: int) -> None:
        """Frame ``i`` is being restored, and nothing kept for it is asked for again."""

    def neighbours(self, sweep: Sweep, i: int) -> int:
        """How many states the step at frame ``i`` takes: ``order``, or fewer near where propagation starts."""
        run = self._run_of[i]
        return min(sweep.order, run.stop - 1 - i if sweep.reverse else i - run.start)

    def inputs(self, sweep: Sweep, i: int, carried: tuple[Tensor, ...]) -> StepInputs:
        """What the step of a sweep takes at frame ``i``, given the states of the frames where it comes from."""
        count, toward = self.neighbours(sweep, i), 1 if sweep.reverse else -1
        none = (None,) * (sweep.order - count)
        flows = tuple(self.flow(i + k * toward, reverse=sweep.reverse) for k in range(count))
        seen = tuple(self.state(other, i) for other in sweep.sees)
        return StepInputs(self.lr(i), flows + none, carried[:count] + none, seen, self.feature(i))


def run_sweeps(
    net: SequenceNet, group: Group, frames: range, store: Store, carried: Carried
) -> Iterator[tuple[tuple[int, ...], tuple[Tensor, ...]]]:
    """Run sweeps that go at once over a run of frames, each in its own direction.

    Args:
        net: the network whose steps these are.
        group: the sweeps.
        frames: of the sequence; of a block, if ``carried`` says what was before it.
        store: what the steps take; this function keeps nothing in it.
        carried: is kept up to date.

    Yields:
        The frame of each sweep, and its new state.
    """
    steps = net.checkpointed(net.steps)
    for indices in zip(*(sweep.in_order(frames) for sweep in group), strict=True):
        inputs = [store.inputs(s, i, carried.get(s.name, ())) for s, i in zip(group, indices, strict=True)]
        states = steps(group, inputs)
        for sweep, state in zip(group, states, strict=True):
            carried[sweep.name] = (state, *carried.get(sweep.name, ()))[: sweep.order]
        yield indices, states


def begin_frames(
    net: SequenceNet, group: Group, frames: range, store: Store, carried: Carried
) -> Iterator[tuple[int, dict[Sweep, Tensor], Callable[[], Tensor]]]:
    """Run the last group of the schedule and begin to reconstruct its frames, in order of time.

    A single sweep, which has to go forward, hands out frames as it goes. Sweeps that go at once come to an end first,
    so what they give has to be in the store already.

    Yields:
        ``i``, the states of the frame by sweep, and what gives the HR frame.
    """
    alone = group[0] if len(group) == 1 else None
    last = run_sweeps(net, group, frames, store, carried) if alone else (((i,), ()) for i in frames)
    for (i,), new in last:
        states = {s: new[0] if s is alone else store.state(s, i) for s in net.propagation.restored_from}
        result = net.begin_frame(store, i, states)
        store.done(i)
        yield i, states, result


def half_way(propagation: Propagation) -> int:
    """After how many sweeps half of the work on a frame counts as done; see ``on_step`` of those that run sequences."""
    return len(propagation.sweeps) // 2


def delayed(items: Iterable[Item], delay: int) -> Iterator[Item]:
    """Items in their order, each when ``delay`` more have been taken.

    Example:
        >>> next(delayed(iter("abc"), 1))
        'a'
    """
    waiting: deque[Item] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > delay:
            yield waiting.popleft()
    yield from waiting
