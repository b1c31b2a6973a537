"""What every step of a degradation is, how steps are put together, and how their parameters are drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

#: A range that a parameter is drawn from.
Range = tuple[float, float]


class Clip(NamedTuple):
    """Frames, and what can be told of how they were stored.

    Attributes:
        frames: RGB, ``(t, h, w, 3)``.
        quantiser_step: of the codec that they come out of, see :func:`vsr_plugin.media.quantiser.usual_step`.
        coarsest_step: the largest of all codecs that they went through, one after the other, which is what they show
            the traces of: 1 where there was none, since they are whole numbers; ``None`` where it is not known.
    """

    frames: np.ndarray
    quantiser_step: float | None = None
    coarsest_step: float | None = 1.0

    def out_of_codec(self, frames: np.ndarray, step: float | None) -> Clip:
        """What a codec with a quantiser of such steps makes of this clip."""
        known = step is not None and self.coarsest_step is not None
        return Clip(frames, step, max(step, self.coarsest_step) if known else None)

    def changed(self, frames: np.ndarray) -> Clip:
        """What anything that is no codec makes of this clip."""
        return Clip(frames, None, 1.0 if self.coarsest_step == 1 else None)


class Step(ABC):
    """Something that happens to a clip.

    All randomness comes from the generator that is passed, so that a clip is a function of its seed.
    """

    def degrade(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """As :meth:`__call__`, with what a decoder would tell of the result: nothing, unless this is a codec."""
        return clip.changed(self(clip.frames, rng))

    @abstractmethod
    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Degrade a clip.

        Args:
            frames: RGB in [0, 1], ``(t, h, w, 3)``, ``float32``; left as it is.
            rng: what is drawn.

        Returns:
            ``(t, h, w, 3)``, of other sides where the step resizes; values may leave [0, 1].
        """


def walk(rng: np.random.Generator, bounds: Range, t: int, step: float = 0.05) -> np.ndarray:
    """A parameter that changes slowly within a clip, as those of a camera do (RealBasicVSR, section 3.4).

    Args:
        rng: what is drawn.
        bounds: of the parameter.
        t: frames.
        step: largest change from frame to frame, as a share of the range.

    Returns:
        ``(t,)``: uniform at the first frame, then a random walk that is turned back at the bounds.
    """
    low, high = bounds
    path = rng.uniform(low, high) + np.concatenate(([0], np.cumsum(rng.uniform(-step, step, t - 1)))) * (high - low)
    return low + np.abs((path - low + (high - low)) % (2 * (high - low) or 1) - (high - low))


def weighted_choice(rng: np.random.Generator, options: Sequence, weights: Sequence[float]):
    """One of ``options``, each as often as its weight is of all."""
    return options[int(rng.choice(len(options), p=np.asarray(weights) / np.sum(weights)))]


class TellingStep(Step):
    """A step that says of its result what its decoder, or those of the steps in it, would tell."""

    @abstractmethod
    def degrade(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """See :meth:`Step.degrade`."""

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.degrade(Clip(frames), rng).frames


@dataclass(frozen=True)
class Sometimes(TellingStep):
    """Does a step with a probability."""

    probability: float
    step: Step

    def degrade(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """See :meth:`Step.degrade`."""
        return self.step.degrade(clip, rng) if rng.random() < self.probability else clip


@dataclass(frozen=True)
class OneOf(TellingStep):
    """Does one of several steps, each as often as its weight says."""

    steps: tuple[Step, ...]
    weights: tuple[float, ...]

    def degrade(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """See :meth:`Step.degrade`."""
        return weighted_choice(rng, self.steps, self.weights).degrade(clip, rng)


@dataclass(frozen=True)
class InOrder(TellingStep):
    """Does steps one after the other; ``shuffled`` in an order that is drawn."""

    steps: tuple[Step, ...]
    shuffled: bool = False

    def degrade(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """See :meth:`Step.degrade`."""
        for k in rng.permutation(len(self.steps)) if self.shuffled else range(len(self.steps)):
            clip = self.steps[k].degrade(clip, rng)
        return clip
