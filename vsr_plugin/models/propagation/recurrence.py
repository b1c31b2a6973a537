"""The loop over a sequence that drives the steps of a network (section 3.1)."""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vsr_plugin.models.propagation.propagation import Propagation
from vsr_plugin.ops.padding import pad_to_multiple


def check_sequence(lrs: Tensor) -> None:
    """Raise ``ValueError`` unless ``lrs`` is a floating-point sequence ``(n, t, 3, h, w)`` with no empty side."""
    shape = tuple(lrs.shape)
    if lrs.dim() == 4 and lrs.size(1) == 3:
        raise ValueError(f"`lrs` must have shape (n, t, 3, h, w), got {shape}; add a batch axis")
    if lrs.dim() != 5 or lrs.size(2) != 3:
        raise ValueError(f"`lrs` must have shape (n, t, 3, h, w), got {shape}")
    if lrs.numel() == 0:
        raise ValueError(f"`lrs` must hold at least one frame of at least one pixel, got shape {shape}")
    if not lrs.is_floating_point():
        raise ValueError(f"`lrs` must be floating point in [0, 1], got {lrs.dtype}; divide 8-bit frames by 255")


#: What a step takes, in the order of its arguments.
Inputs = tuple[Tensor | None, ...]


Item = TypeVar("Item")


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


@dataclass
class _Sequence:
    """What the steps of a sequence take besides what other steps gave.

    Attributes:
        lrs: frames ``(n, t, 3, h, w)``.
        flows_forward, flows_backward: see ``estimate_flows``.
        refill: features of the keyframes by frame index.
    """

    lrs: Tensor
    flows_forward: Tensor
    flows_backward: Tensor
    refill: Mapping[int, Tensor]

    def backward_inputs(self, i: int, state: Tensor | None) -> Inputs:
        """What ``backward_step`` takes at frame ``i``, given the state of frame ``i + 1``."""
        flow = None if state is None else self.flows_backward[:, i]
        return self.lrs[:, i], flow, state, self.refill.get(i)

    def forward_inputs(self, i: int, state: Tensor | None, backward_feat: Tensor | None) -> Inputs:
        """What ``forward_step`` takes at frame ``i``, given the state of frame ``i - 1``."""
        flow = None if state is None else self.flows_forward[:, i - 1]
        return self.lrs[:, i], flow, state, backward_feat, self.refill.get(i)


class Recurrence:
    """Runs a network over whole sequences, mixed into it: backward in time, if it has that branch, then forward.

    The network supplies the steps, and every way of running it (training, whole sequences, streaming, export)
    calls the same ones:

    - ``estimate_flows(lrs)``: flows in both directions;
    - ``keyframe_windows(t)`` and ``refill_feature(window)``: which frames are keyframes, with the frames that their
      features are computed from, and those features; ``refill_features(lrs)`` is both for a whole sequence;
    - ``backward_step(lr, flow, state, refill)``: state of the backward branch at one frame;
    - ``forward_step(lr, flow, state, backward_feat, refill)``: state of the forward branch at one frame;
    - ``both_steps(backward, forward)``: the two at once, for sequences where ``branches_at_once(lrs)``;
    - ``reconstruct(lr, backward_feat, forward_feat)``: the HR frame; ``begin_reconstruct``: perhaps beside later steps.

    Its ``propagation`` says whether there is a backward branch and where in a sequence propagation starts anew. States
    are plain tensors ``(n, state_channels, h, w)`` that are passed and returned; ``None`` starts a sequence, and stands
    for the backward state where there is no such branch. Nothing is kept on the network between calls.
    """

    propagation: Propagation

    #: HR pixels per LR pixel and side.
    scale: int
    #: Frames are extended to multiples of this many pixels before any step.
    size_multiple = 1
    #: Gradient checkpointing: training keeps the states between steps and computes what is inside them again.
    with_cp = False

    def checkpointed(self, step: Callable) -> Callable:
        """A step that keeps only its inputs for the backward pass, if ``with_cp`` and gradients are wanted."""
        if not (self.with_cp and torch.is_grad_enabled()):
            return step
        return functools.partial(checkpoint, step, use_reentrant=False)

    def branches_at_once(self, lrs: Tensor) -> bool:
        """Whether :meth:`both_steps` is to be used for frames ``(n, ..., 3, h, w)``, which takes two states a frame.

        Only ever true where the propagation has independent branches.
        """
        return False

    def both_steps(self, backward: Inputs, forward: Inputs) -> tuple[Tensor, Tensor]:
        """A step of each branch, at different frames; a network that can compute them at once does so here.

        Args:
            backward: all that ``backward_step`` takes: ``(lr, flow, state, refill)``.
            forward: all that ``forward_step`` takes: ``(lr, flow, state, None, refill)``.

        Returns:
            States of the backward and of the forward branch.
        """
        return self.backward_step(*backward), self.forward_step(*forward)

    def frames_under_way(self, lrs: Tensor) -> int:
        """Frames of the size of ``lrs`` ``(n, ..., 3, h, w)`` to begin reconstructing before the first is asked for."""
        return 0

    def begin_reconstruct(self, lr: Tensor, backward_feat: Tensor | None, forward_feat: Tensor) -> Callable[[], Tensor]:
        """Begin ``reconstruct``; a network that can do so beside the steps that follow begins it here.

        Returns:
            What gives the HR frame. Nothing that was passed may be written to before.
        """
        hr = self.reconstruct(lr, backward_feat, forward_feat)
        return lambda: hr

    def refill_features(self, lrs: Tensor) -> Mapping[int, Tensor]:
        """Features of all keyframes of ``lrs`` ``(n, t, 3, h, w)`` by frame index, each ``(n, c, h, w)``."""
        windows = self.keyframe_windows(lrs.size(1))
        return {i: self.checkpointed(self.refill_feature)(lrs[:, window]) for i, window in windows.items()}

    def restore_iter(self, lrs: Tensor, on_step: Callable[[int], None] | None = None) -> Iterator[Tensor]:
        """Restore a whole sequence and hand out its HR frames one by one, in order of time.

        The features of all frames are in memory, the HR frames only as long as the caller keeps them.

        Args:
            lrs: RGB in [0, 1], ``(n, t, 3, h, w)``; any ``t``, ``h``, ``w`` of at least 1.
            on_step: called with the index of a frame after its backward step, and again when it is restored.

        Yields:
            ``(n, 3, scale * h, scale * w)``, not clipped to [0, 1].

        Raises:
            ValueError: ``lrs`` has another shape or is not floating point.
        """
        check_sequence(lrs)
        h, w = lrs.shape[-2:]
        lrs = pad_to_multiple(lrs, self.size_multiple)
        sequence = _Sequence(lrs, *self.estimate_flows(lrs), self.refill_features(lrs))
        if self.branches_at_once(lrs):
            restore = self._restore_at_once
        else:
            restore = self._restore_beside if self.frames_under_way(lrs) else self._restore_in_turn
        for segment in self.propagation.segments(lrs.size(1)):
            for hr in restore(sequence, segment, on_step or (lambda i: None)):
                yield hr[..., : self.scale * h, : self.scale * w]

    def _sweep_backward(self, sequence: _Sequence, segment: range, on_step: Callable[[int], None]) -> dict[int, Tensor]:
        """States of the backward branch over a segment, if there is that branch."""
        backward_step = self.checkpointed(self.backward_step)
        feats: dict[int, Tensor] = {}
        state = None
        for i in reversed(segment):
            if self.propagation.has_backward:
                state = feats[i] = backward_step(*sequence.backward_inputs(i, state))
            on_step(i)
        return feats

    def _restore_in_turn(self, sequence: _Sequence, segment: range, on_step: Callable[[int], None]) -> Iterator[Tensor]:
        """HR frames of a segment: the backward branch over all of it, then the forward branch."""
        forward_step, reconstruct = map(self.checkpointed, (self.forward_step, self.reconstruct))
        backward_feats = self._sweep_backward(sequence, segment, on_step)
        state = None
        for i in segment:
            backward_feat = backward_feats.pop(i, None)
            state = forward_step(*sequence.forward_inputs(i, state, backward_feat))
            hr = reconstruct(sequence.lrs[:, i], backward_feat, state)
            on_step(i)
            yield hr

    def _restore_beside(self, sequence: _Sequence, segment: range, on_step: Callable[[int], None]) -> Iterator[Tensor]:
        """The same, each frame reconstructed while the forward branch is at the next ones."""
        backward_feats = self._sweep_backward(sequence, segment, on_step)

        def begun() -> Iterator[tuple[int, Callable[[], Tensor]]]:
            state = None
            for i in segment:
                backward_feat = backward_feats.pop(i, None)
                state = self.forward_step(*sequence.forward_inputs(i, state, backward_feat))
                yield i, self.begin_reconstruct(sequence.lrs[:, i], backward_feat, state)

        for i, result in delayed(begun(), self.frames_under_way(sequence.lrs)):
            hr = result()
            on_step(i)
            yield hr

    def _restore_at_once(self, sequence: _Sequence, segment: range, on_step: Callable[[int], None]) -> Iterator[Tensor]:
        """The same with independent branches: both over all of the segment, from its two ends; then reconstruction."""
        both_steps, reconstruct = map(self.checkpointed, (self.both_steps, self.reconstruct))
        backward_feats: dict[int, Tensor] = {}
        forward_feats: dict[int, Tensor] = {}
        backward = forward = None
        for i, j in zip(reversed(segment), segment, strict=True):
            backward, forward = both_steps(
                sequence.backward_inputs(i, backward), sequence.forward_inputs(j, forward, None)
            )
            backward_feats[i], forward_feats[j] = backward, forward
            on_step(i)
        del backward, forward  # from here on the states of a frame go with it

        for i in segment:
            hr = reconstruct(sequence.lrs[:, i], backward_feats.pop(i), forward_feats.pop(i))
            on_step(i)
            yield hr

    def forward(self, lrs: Tensor) -> Tensor:
        """Restore a whole sequence.

        Args:
            lrs: RGB in [0, 1], ``(n, t, 3, h, w)``; any ``t``, ``h``, ``w`` of at least 1.

        Returns:
            ``(n, t, 3, scale * h, scale * w)``, not clipped to [0, 1].

        Raises:
            ValueError: ``lrs`` has another shape or is not floating point.
        """
        return torch.stack(list(self.restore_iter(lrs)), dim=1)
