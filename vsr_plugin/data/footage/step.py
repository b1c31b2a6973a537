"""What every step of a degradation is, how steps are put together, and how their parameters are drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: A range that a parameter is drawn from.
Range = tuple[float, float]


class Step(ABC):
    """Something that happens to a clip.

    All randomness comes from the generator that is passed, so that a clip is a function of its seed.
    """

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


@dataclass(frozen=True)
class Sometimes(Step):
    """Does a step with a probability."""

    probability: float
    step: Step

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.step(frames, rng) if rng.random() < self.probability else frames


@dataclass(frozen=True)
class OneOf(Step):
    """Does one of several steps, each as often as its weight says."""

    steps: tuple[Step, ...]
    weights: tuple[float, ...]

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return weighted_choice(rng, self.steps, self.weights)(frames, rng)


@dataclass(frozen=True)
class InOrder(Step):
    """Does steps one after the other; ``shuffled`` in an order that is drawn."""

    steps: tuple[Step, ...]
    shuffled: bool = False

    def __call__(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for k in rng.permutation(len(self.steps)) if self.shuffled else range(len(self.steps)):
            frames = self.steps[k](frames, rng)
        return frames
