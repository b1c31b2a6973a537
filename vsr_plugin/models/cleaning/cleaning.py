"""What every cleaning offers, and the table of those there are."""

import copy
from collections.abc import Sequence

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.models.base_module import VSRModule
from vsr_plugin.models.component_table import ComponentTable

#: Cleanings by the name that a network's ``cleaning`` takes.
CLEANINGS = ComponentTable("cleaning")


class Cleaning(VSRModule):
    """Takes out of LR frames what noise and compression put in, before they are propagated (RealBasicVSR, section 3.1).

    Frames keep their size. A subclass says in :meth:`residue` what is added to a frame; whole sequences
    (:meth:`forward`) and streams (:mod:`vsr_plugin.inference.cleaning`) call it frame by frame or many at once.

    Args:
        max_rounds: how often a sequence is cleaned at most.
        threshold: a sequence is not cleaned again once the mean absolute residue over all of it is below this, in
            [0, 1] like the frames: *dynamic refinement*, section 3.3 of RealBasicVSR.
        init_cfg: see :class:`VSRModule`.

    Attributes:
        strength: share of the residue that is added: 1 as trained, 0 leaves frames as they are.
    """

    #: Cleaned pixels per pixel and side.
    scale = 1
    #: Frames to each side that the cleaning of a frame looks at.
    radius = 0
    #: Pixels to each side that the cleaning of a pixel looks at.
    reach = 0
    #: Numbers that one layer of it has for a pixel; memory is planned by it.
    channels_per_pixel = 64.0

    def __init__(self, *, max_rounds: int = 1, threshold: float = 0.0, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.max_rounds = max_rounds
        self.threshold = threshold
        self.strength = 1.0

    def residue(self, windows: Tensor) -> Tensor:
        """What is added to frames.

        Args:
            windows: each frame between its neighbours, RGB in [0, 1], ``(n, 2 * radius + 1, 3, h, w)``; any sides.

        Returns:
            ``(n, 3, h, w)`` for the frames in the middle.
        """
        raise NotImplementedError

    def window(self, i: int, t: int) -> list[int]:
        """The frames that cleaning frame ``i`` of ``t`` looks at; beyond the ends of a sequence its last frame stands.

        Example:
            >>> cleaning = Cleaning()
            >>> cleaning.radius = 2
            >>> cleaning.window(1, 3)
            [0, 0, 1, 2, 2]
        """
        return [min(max(j, 0), t - 1) for j in range(i - self.radius, i + self.radius + 1)]

    def at(self, strength: float) -> "Cleaning":
        """The same cleaning at another strength; it shares its parameters with this one, which stays as it is."""
        other = copy.copy(self)
        other.strength = strength
        return other

    def forward(self, lrs: Tensor) -> Tensor:
        """Clean whole sequences.

        Args:
            lrs: RGB in [0, 1], ``(n, t, 3, h, w)``.

        Returns:
            The same shape, not clipped.
        """
        n, t, c, h, w = lrs.shape
        windows = [self.window(i, t) for i in range(t)]
        for _ in range(self.max_rounds):
            residue = self.residue(lrs[:, windows].reshape(n * t, -1, c, h, w)).view_as(lrs)
            lrs = lrs + self.strength * residue
            if self.is_clean(residue.detach().abs().mean()):
                break
        return lrs

    def clean_frame(self, window: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Clean one frame of a stream.

        Args:
            window: the frame between its neighbours as :meth:`window` chooses them, each ``(3, h, w)``.

        Returns:
            The cleaned frame ``(3, h, w)``, and the mean absolute residue as a scalar.
        """
        residue = self.residue(torch.stack(tuple(window))[None])[0]
        return window[self.radius] + self.strength * residue, residue.abs().mean()

    def is_clean(self, mean_residue: float | Tensor) -> bool:
        """Whether a sequence with this mean absolute residue is not cleaned again."""
        return bool(mean_residue < self.threshold)


def with_cleaning(net: nn.Module, cleaning: Cleaning | None) -> nn.Module:
    """The same network behind another cleaning; it shares its parameters with ``net``, which stays as it is.

    Args:
        net: a ``VSRNet``.
        cleaning: what frames go through first; ``None`` for nothing.
    """
    other = copy.copy(net)
    other._modules = dict(net._modules)  # which a shallow copy would share
    other._modules.pop("cleaning", None)
    other.cleaning = cleaning
    return other
