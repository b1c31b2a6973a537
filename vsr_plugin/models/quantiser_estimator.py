"""Tells from frames alone how coarsely a codec has quantised them, where their file does not, or does no longer."""

import functools
import math
from collections.abc import Iterable

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.models.component import VSRModule
from vsr_plugin.ops.frames import Frame, frame_to_tensor
from vsr_plugin.registry import MODELS
from vsr_plugin.weights import load_net

#: Only brightness is looked at: colours of half the size are no sign of a quantiser, and grey film has none.
_LUMA = (0.299, 0.587, 0.114)
#: Side of the square whose mean is taken from a frame before its layers see it: what a quantiser leaves stands out
#: from its surroundings, whatever the picture shows.
_MEAN_OF = 9
#: Largest sides of what is looked at, in the middle of a frame: more of it tells nothing more.
_LARGEST = 512
#: Steps are told in fractions of a doubling, so that last bits, which depend on the processor, cannot make another one.
_FRACTIONS = 4

#: Logarithm of the scale of the error where there is nothing to be seen, but for what sums leave; elsewhere it is less.
_UNSURE, _NOTHING = 6.0, 1e-3
#: Doublings of the coarsest quantisers: 112/255 in MPEG-2.
_MOST = 6.8
#: The finest step that frames are cleaned for if only they tell it: what clean ones may look like stays below.
FAINTEST = 9.0
#: How many times as coarse as their codec tells frames look that were coded more coarsely before.
_COARSER = 3.0
#: Name of the weights that ship.
SHIPPED_ESTIMATOR = "footage_quantiser"


@MODELS.register_module()
class QuantiserEstimator(VSRModule):
    """How coarsely frames are quantised, place by place, and how sure that is.

    Convolutions down to an eighth of the size, each frame by itself: what moves and what does not tells of the camera
    more than of the codec. A flat wall tells little and leaves of a tree much, so every place comes with a scale of
    its error (the Laplace distribution's, learned as in arXiv 1703.04977), and the mean over places and frames goes by
    it.

    Args:
        mid_channels: channels of the features at half the size; twice as many below.
        init_cfg: see :class:`VSRModule`.
    """

    #: Sides of its result over those of frames, for the settings of a training: it does not enlarge.
    scale = 1

    def __init__(self, mid_channels: int = 32, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        wide = 2 * mid_channels
        self.convs = nn.ModuleList(
            nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1)
            for n_in, n_out, stride in (
                (4, mid_channels, 1),
                (mid_channels, mid_channels, 1),
                (mid_channels, wide, 2),
                (wide, wide, 1),
                (wide, wide, 2),
                (wide, wide, 1),
            )
        )
        self.conv_last = nn.Conv2d(wide, 2, 1)
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.weight)
            nn.init.zeros_(conv.bias)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Look at frames.

        Args:
            frames: RGB in [0, 1], ``(n, 3, h, w)``, sides of 8 at least.

        Returns:
            Two times ``(n, 1, h / 8, w / 8)``, rounded up: doublings of the step from 1/255 on, and the logarithm of
            the scale of their error.
        """
        around = (_MEAN_OF // 2,) * 4
        luma = (frames * frames.new_tensor(_LUMA).view(3, 1, 1)).sum(dim=1, keepdim=True)
        mean = F.avg_pool2d(F.pad(luma, around, mode="replicate"), _MEAN_OF, stride=1)
        # A difference of 1/255 is to be seen as well as an edge.
        detail = torch.asinh((luma - mean) * 255)
        features = F.pixel_unshuffle(F.pad(detail, (0, detail.shape[-1] % 2, 0, detail.shape[-2] % 2)), 2)
        for conv in self.convs:
            features = F.relu(conv(features))
        doublings, log_scale = self.conv_last(features).split(1, dim=1)
        # Where there is nothing, as in black bars, there is nothing to tell it by.
        something = F.max_pool2d(detail.abs(), 8, ceil_mode=True) > _NOTHING
        return doublings, torch.where(something, log_scale.clamp(-_UNSURE, _UNSURE - 1), _UNSURE)

    @torch.no_grad()
    def step(self, frames: Iterable[Frame]) -> float | None:
        """The step of the quantiser that frames show, all of one clip, in 255ths of their range.

        Args:
            frames: each ``(h, w, 3)`` or ``(3, h, w)``, see :data:`vsr_plugin.ops.frames.Frame`.

        Returns:
            A power of two to a quarter, from 1 for frames that no codec has touched; ``None`` where there are none, or
            only those that are too small or of one colour.
        """
        total = weight = 0.0
        device = next(self.parameters()).device
        for frame in frames:
            middle = _middle(frame_to_tensor(frame, device))
            if min(middle.shape[-2:]) < 8:
                continue
            sums = _weighted(*(each.double() for each in self(middle[None])))
            total, weight = total + float(sums[0]), weight + float(sums[1])
        return 2 ** (round(_FRACTIONS * total / weight) / _FRACTIONS) if weight else None


def _middle(frame: Tensor) -> Tensor:
    top, left = (max(0, side - _LARGEST) // 2 for side in frame.shape[-2:])
    return frame[:, top : top + _LARGEST, left : left + _LARGEST]


def mean_doublings(doublings: Tensor, log_scale: Tensor) -> Tensor:
    """Means ``(n,)`` of what :meth:`QuantiserEstimator.forward` gives, by how sure each place is."""
    total, weight = _weighted(doublings, log_scale)
    return total / weight.clamp(min=1e-6)


def _weighted(doublings: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    """Sums ``(n,)`` of doublings by how sure each place is, and of that; places where there is nothing do not count."""
    sureness = torch.exp(-log_scale) * (log_scale < _UNSURE)
    return (sureness * doublings.clamp(0, _MOST)).sum(dim=(1, 2, 3)), sureness.sum(dim=(1, 2, 3))


@functools.cache
def _loaded() -> QuantiserEstimator:
    return load_net(SHIPPED_ESTIMATOR)


def fitting_step(told: float | None, seen: float | None) -> float | None:
    """The step that frames are to be cleaned for.

    Args:
        told: by the last codec that they went through, where it tells.
        seen: what :func:`step_of_frames` says of them.

    Returns:
        What is seen where nothing is told, and otherwise what is told; but halfway between them (by doublings) where
        the frames look much coarser, as those of a DVD do that was converted to H.264.

    Example:
        >>> fitting_step(None, 1.0), fitting_step(20.0, 32.0), fitting_step(4.0, 16.0)
        (1.0, 20.0, 8.0)
    """
    if told is None or seen is None:
        return seen if told is None else told
    if told <= 1:  # it has rounded nothing away, and leaves no traces of its own
        return seen if seen >= FAINTEST else told
    # Last bits of roots depend on the processor; what a job is taken up by must not.
    return round(math.sqrt(told * seen), 6) if seen >= max(FAINTEST, _COARSER * told) else told


def step_of_frames(frames: Iterable[Frame]) -> float | None:
    """See :meth:`QuantiserEstimator.step`, by the weights that ship."""
    return _loaded().step(frames)
