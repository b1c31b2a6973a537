"""Networks that run over whole sequences in memory, by the driver of :mod:`vsr_plugin.ops.sweeps`."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vsr_plugin.models.cleaning import Cleaning
from vsr_plugin.models.propagation import Propagation
from vsr_plugin.ops.padding import pad_to_multiple
from vsr_plugin.ops.sweeps import Group, StepInputs, Store, Sweep, begin_frames, delayed, half_way, run_sweeps


class WholeSequence(Store):
    """All in memory, with gradients if they are recorded.

    Args:
        net: gives flows and features.
        lrs: frames ``(n, t, 3, h, w)`` with sides that the network takes.
    """

    def __init__(self, net: "SequenceNet", lrs: Tensor) -> None:
        super().__init__(net.propagation, lrs.size(1))
        self._lrs = lrs
        self._flows_forward, self._flows_backward = net.estimate_flows(lrs)
        self._features = net.frame_features(lrs)
        self._states: dict[tuple[str, int], Tensor] = {}

    def lr(self, i: int) -> Tensor:
        return self._lrs[:, i]

    def flow(self, i: int, *, reverse: bool) -> Tensor:
        return self._flows_backward[:, i] if reverse else self._flows_forward[:, i - 1]

    def feature(self, i: int) -> Tensor | None:
        return self._features.get(i)

    def state(self, sweep: Sweep, i: int) -> Tensor:
        return self._states[sweep.name, i]

    def keep(self, sweep: Sweep, i: int, state: Tensor) -> None:
        self._states[sweep.name, i] = state

    def done(self, i: int) -> None:
        for key in [key for key in self._states if key[1] == i]:
            del self._states[key]


class SequenceNet:
    """Runs a network over whole sequences, mixed into it.

    The network supplies the steps, and every way of running it (training, whole sequences, streaming, export) calls the
    same ones:

    - ``estimate_flows(lrs)``: flows between neighbouring frames in both directions;
    - ``feature_windows(t)`` and ``frame_feature(window)``: which frames have features of their own, from which frames
      these are computed, and the features; ``frame_features(lrs)`` is both for a whole sequence;
    - ``steps(group, inputs)``: new states of sweeps at one frame each;
    - ``begin_frame(store, i, states)``: the HR frame, perhaps beside later steps.

    Its ``propagation`` declares the sweeps. States are plain tensors that are passed and returned; nothing is kept on
    the network between calls.
    """

    propagation: Propagation
    #: What is done to the frames of a sequence before all else; ``None`` for nothing. Networks set it when they are
    #: made: a value of the class would hide the module.
    cleaning: Cleaning | None

    #: HR pixels per LR pixel and side.
    scale: int
    #: LR pixels per pixel of features, states and flow, and side; more than 1 where these have a lower resolution.
    feature_stride = 1
    #: Frames are extended to multiples of this many pixels before any step.
    size_multiple = 1
    #: How often restoring runs it for one result; see :mod:`vsr_plugin.inference.ensemble`.
    ensemble = 1
    #: Gradient checkpointing: training keeps the states between steps and computes what is inside them again.
    with_cp = False

    def checkpointed(self, step: Callable) -> Callable:
        """A step that keeps only its inputs for the backward pass, if ``with_cp`` and gradients are wanted."""
        if not (self.with_cp and torch.is_grad_enabled()):
            return step
        return functools.partial(checkpoint, step, use_reentrant=False)

    def schedule(self, lrs: Tensor) -> list[Group]:
        """Which sweeps run at once for frames of the size of ``lrs`` ``(n, ..., 3, h, w)``; here one at a time."""
        return [(sweep,) for sweep in self.propagation.sweeps]

    def lookahead(self, lrs: Tensor) -> int:
        """Frames of the size of ``lrs`` ``(n, ..., 3, h, w)`` to begin reconstructing before the first is asked for."""
        return 0

    def feature_windows(self, t: int) -> dict[int, list[int]]:
        """Frames of a ``t``-frame sequence that have features of their own, each with those they are computed from."""
        return {}

    def frame_features(self, lrs: Tensor) -> Mapping[int, Tensor]:
        """All such features of ``lrs`` ``(n, t, 3, h, w)`` by frame index, each ``(n, c, h, w)``."""
        windows = self.feature_windows(lrs.size(1))
        return {i: self.checkpointed(self.frame_feature)(lrs[:, window]) for i, window in windows.items()}

    def restore_iter(self, lrs: Tensor, on_step: Callable[[int], None] | None = None) -> Iterator[Tensor]:
        """Restore a whole sequence and hand out its HR frames one by one, in order of time.

        The states of all frames are in memory, the HR frames only as long as the caller keeps them.

        Args:
            lrs: RGB in [0, 1], ``(n, t, 3, h, w)``; any ``t``, ``h``, ``w`` of at least 1.
            on_step: called with the index of a frame when half of the work on it is done, and when it is restored.

        Yields:
            ``(n, 3, scale * h, scale * w)``, not clipped to [0, 1].

        Raises:
            ValueError: ``lrs`` has another shape or is not floating point.
        """
        check_sequence(lrs)
        yield from self.restore_cleaned(self.clean(lrs), on_step)

    def clean(self, lrs: Tensor) -> Tensor:
        """Frames ``(n, t, 3, h, w)`` by the network's cleaning, or as they are where it has none."""
        return lrs if self.cleaning is None else self.checkpointed(self.cleaning)(lrs)

    def restore_cleaned(self, lrs: Tensor, on_step: Callable[[int], None] | None = None) -> Iterator[Tensor]:
        """Restore what :meth:`clean` gave; see :meth:`restore_iter`, which is both."""
        on_step = on_step or (lambda i: None)
        h, w = lrs.shape[-2:]
        lrs = pad_to_multiple(lrs, self.size_multiple)
        store = WholeSequence(self, lrs)
        *earlier, last = self.schedule(lrs)
        half = half_way(self.propagation)
        for run in store.runs:
            # What goes at once comes to an end before a frame is restored.
            made = 0
            for group in [*earlier, last] if len(last) > 1 else earlier:
                for indices, states in run_sweeps(self, group, run, store, {}):
                    for sweep, i, state in zip(group, indices, states, strict=True):
                        store.keep(sweep, i, state)
                    if made < half <= made + len(group):
                        on_step(indices[0])
                del states, state  # from here on a state goes with its frame
                made += len(group)
            if not half:
                for i in reversed(run):
                    on_step(i)
            for i, _, result in delayed(begin_frames(self, last, run, store, {}), self.lookahead(lrs)):
                hr = result()
                on_step(i)
                yield hr[..., : self.scale * h, : self.scale * w]

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

    def steps(self, group: Group, inputs: Sequence[StepInputs]) -> tuple[Tensor, ...]:
        """New states ``(n, c, h, w)`` of the sweeps of a group, each at a frame of its own."""
        raise NotImplementedError

    def begin_frame(self, store: Store, i: int, states: Mapping[Sweep, Tensor]) -> Callable[[], Tensor]:
        """Begin to reconstruct frame ``i``; nothing that it is made of may be written to before it is there.

        Args:
            store: has the frame, and its feature if it is wanted.
            i: number of the frame.
            states: by the sweeps that ``propagation.restored_from`` names.

        Returns:
            What gives the HR frame ``(n, 3, scale * h, scale * w)``.
        """
        raise NotImplementedError


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
