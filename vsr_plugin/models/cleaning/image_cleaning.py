"""RealBasicVSR's cleaning: residual blocks on single frames, repeated while there is something to clean."""

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.errors import ComponentError
from vsr_plugin.models.cleaning.cleaning import CLEANINGS, Cleaning
from vsr_plugin.models.propagation.resblocks import ResidualBlocksWithInputConv
from vsr_plugin.registry import MODELS


@MODELS.register_module()
@CLEANINGS.register("image")
class ImageCleaning(Cleaning):
    """The image cleaning module of RealBasicVSR (arXiv 2111.12704), with what the paper calls dynamic refinement.

    Parameters are named ``0.main.*`` and ``1.*``, as in MMagic's ``image_cleaning``.

    Args:
        mid_channels: channels of the features.
        num_blocks: residual blocks.
        max_rounds: see :class:`Cleaning`; three in the paper.
        threshold: see :class:`Cleaning`; at 1 every sequence counts as clean after the first round.
        sequential: clean one frame after the other, which takes less memory and a little more time.
        init_cfg: see :class:`VSRModule`.

    Raises:
        ComponentError: ``threshold`` is negative, or ``max_rounds`` is less than 1.
    """

    def __init__(
        self,
        mid_channels: int = 64,
        num_blocks: int = 20,
        *,
        max_rounds: int = 3,
        threshold: float = 1.0,
        sequential: bool = False,
        init_cfg: dict | None = None,
    ):
        if not threshold >= 0:
            raise ComponentError(f"`threshold` {threshold} is no mean of absolute values; use a number from 0 to 1")
        if max_rounds < 1:
            raise ComponentError(f"`max_rounds` {max_rounds}: frames are cleaned once at least; use 1 or more")
        super().__init__(max_rounds=max_rounds, threshold=threshold, init_cfg=init_cfg)
        self.sequential = sequential
        self.reach = 2 * num_blocks + 2
        self.channels_per_pixel = mid_channels
        self.add_module("0", ResidualBlocksWithInputConv(3, mid_channels, num_blocks))
        self.add_module("1", nn.Conv2d(mid_channels, 3, 3, padding=1))

    def residue(self, windows: Tensor) -> Tensor:
        """See :meth:`Cleaning.residue`."""
        frames = windows[:, self.radius]
        resblocks, conv = self.children()
        if self.sequential:
            return torch.cat([conv(resblocks(frame)) for frame in frames.split(1)])
        return conv(resblocks(frames))
