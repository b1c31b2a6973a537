"""Image alignment: the neighbouring frame is warped, features are propagated as they are (section 3.1)."""

import torch
from torch import Tensor

from vsr_plugin.models.alignment.alignment import ALIGNMENTS, Alignment


@ALIGNMENTS.register("image")
class ImageAlignment(Alignment):
    """``h_i = R(x_i, h_{i±1}, W(x_{i±1}, s_i))``.

    The paper says that images are warped before anything is computed from them, rather than features, but not how
    the recurrence goes on. Taken here: the motion is compensated in the only images that a step sees, its frame and
    the neighbour, and the features pass without being warped. So a state carries its frame behind its features.
    """

    carried_channels = 3

    def carry(self, feat: Tensor, lr: Tensor) -> Tensor:
        """Features with their frame; in the frame's precision, since 8 bits do not fit into bfloat16."""
        return torch.cat((feat, lr), dim=1)

    def forward(self, state: Tensor, flow: Tensor, lr: Tensor) -> Tensor:
        """Warp the neighbouring frame and leave its features as they are."""
        feat, neighbour = state.split((self.mid_channels, 3), dim=1)
        return torch.cat((feat, self.warp(neighbour, flow)), dim=1)
