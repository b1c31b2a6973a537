"""Cleaning of frames before they are propagated: what every one offers, the choices, and the one that ships."""

import contextlib
import copy
import functools
from collections.abc import Iterator, Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.defaults import USUAL_STEP
from vsr_plugin.errors import ComponentError
from vsr_plugin.models.adaptation import adapted_to_footage
from vsr_plugin.models.component import ComponentTable, VSRModule
from vsr_plugin.models.layers import ResidualBlocksWithInputConv
from vsr_plugin.registry import MODELS
from vsr_plugin.settings import check_share
from vsr_plugin.weights import load_net

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
        quantiser_step: how coarsely the frames' codec has quantised them, in 255ths of their range, where that is
            known; in training a tensor ``(n,)`` with a number for each sequence, ``nan`` where it is not. To be seen
            by cleanings that know what to do about it.
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
        self.quantiser_step: float | Tensor | None = None

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

    def at(self, strength: float, quantiser_step: float | None = None) -> "Cleaning":
        """The same cleaning, otherwise set; it shares its parameters with this one, which stays as it is.

        Args:
            strength, quantiser_step: see the attributes.
        """
        other = copy.copy(self)
        other.strength, other.quantiser_step = strength, quantiser_step
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
            if self.is_clean(magnitudes(residue.detach()).mean()):
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
        return window[self.radius] + self.strength * residue, magnitudes(residue).mean()

    def is_clean(self, mean_residue: float | Tensor) -> bool:
        """Whether a sequence with this mean absolute residue is not cleaned again."""
        return bool(mean_residue < self.threshold)


def magnitudes(residue: Tensor) -> Tensor:
    """Absolute values of a residue, in float32 at least: float16 overflows in a sum, bfloat16 rounds a mean."""
    return residue.abs().to(torch.promote_types(residue.dtype, torch.float32))


@contextlib.contextmanager
def told(net: nn.Module, quantiser_step: float | Tensor | None) -> Iterator[None]:
    """For a time, tell a network's cleaning, or a cleaning itself, what it has to do with.

    Args:
        net: a ``VSRNet``, with a cleaning or without, or a :class:`Cleaning`.
        quantiser_step: see there.
    """
    cleaning = net if isinstance(net, Cleaning) else getattr(net, "cleaning", None)
    if cleaning is None:
        yield
        return
    before, cleaning.quantiser_step = cleaning.quantiser_step, quantiser_step
    try:
        yield
    finally:
        cleaning.quantiser_step = before


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


#: Side of the square whose mean is taken from a frame before its layers see it, and what is left is multiplied with.
#: Compression leaves a few 255ths of what stands out, and nothing of how bright the picture is; so scaled, both what
#: comes in and what goes out are near 1, which training needs, and bfloat16 loses nothing.
_MEAN_OF, _GAIN = 9, 8.0
#: Doublings of the quantiser's step beyond the usual one, to either side, from which on steps count as the same.
_FINEST, _COARSEST = -2.0, 3.0


@MODELS.register_module()
@CLEANINGS.register("footage")
class FootageCleaning(Cleaning):
    """Residual blocks at half the resolution on a frame and its neighbours, all at once.

    Pixels of 2x2 squares become channels, as in FFDNet (arXiv 1710.04026): 64 channels there cost what 32 do at full
    resolution, see twice as far (the 16x16 blocks of codecs), and fit the kernels that the branches have. The frames
    are stacked without alignment, as in FastDVDnet (arXiv 1907.01361): flow would cost more than all the rest. How
    coarsely their codec has quantised them stands beside them in a plane, as the level of noise does in FFDNet.

    Args:
        mid_channels: channels of the features.
        num_blocks: residual blocks.
        radius: neighbours to each side.
        init_cfg: see :class:`VSRModule`.
    """

    def __init__(self, mid_channels: int = 64, num_blocks: int = 8, radius: int = 2, init_cfg: dict | None = None):
        super().__init__(init_cfg=init_cfg)
        self.radius = radius
        self.reach = 2 * (2 * num_blocks + 2) + 1 + _MEAN_OF // 2
        self.channels_per_pixel = mid_channels / 4
        self.resblocks = ResidualBlocksWithInputConv(((2 * radius + 1) * 3 + 1) * 4, mid_channels, num_blocks)
        self.doublings = nn.Parameter(torch.tensor(0.4))  # of what is changed, with each of the quantiser's step
        self.conv_last = nn.Conv2d(mid_channels, 3 * 4, 3, padding=1)
        # Larger than in the branches, where hundreds of steps pass a feature on: this net is to learn in hours.
        for module in self.resblocks.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                if module.in_channels == mid_channels:
                    module.weight.data *= 0.5
        # An untrained cleaning leaves frames as they are.
        nn.init.zeros_(self.conv_last.weight)
        nn.init.zeros_(self.conv_last.bias)

    def residue(self, windows: Tensor) -> Tensor:
        """See :meth:`Cleaning.residue`."""
        n, _, _, h, w = windows.shape
        around = (_MEAN_OF // 2,) * 4
        mean = F.avg_pool2d(F.pad(windows[:, self.radius], around, mode="replicate"), _MEAN_OF, stride=1)
        detail = ((windows - mean[:, None]) * _GAIN).reshape(n, -1, h, w)
        coarseness = self._coarseness(mean)
        stacked = torch.cat((detail, coarseness.expand(n, 1, h, w)), dim=1)
        stacked = F.pad(stacked, (0, w % 2, 0, h % 2), mode="replicate")
        # In this layout CPUs and GPUs convolve fastest; the layers keep to it.
        inputs = F.pixel_unshuffle(stacked, 2).contiguous(memory_format=torch.channels_last)
        features = self.resblocks(inputs)
        residue = F.pixel_shuffle(self.conv_last(features), 2)[..., :h, :w].float() / _GAIN
        return residue * 2 ** (self.doublings * coarseness)  # ONNX has no exp2

    def _coarseness(self, like: Tensor) -> Tensor:
        """Doublings of the quantiser's step beyond the usual one, ``(n or 1, 1, 1, 1)``."""
        step = USUAL_STEP if self.quantiser_step is None else self.quantiser_step
        steps = torch.as_tensor(step, dtype=like.dtype, device=like.device).nan_to_num(USUAL_STEP).view(-1, 1, 1, 1)
        if len(steps) > 1:  # of sequences, whose frames lie one after the other
            steps = steps.repeat_interleave(len(like) // len(steps), dim=0)
        return torch.log2(steps / USUAL_STEP).clamp(_FINEST, _COARSEST)


#: Name of the weights that ship.
SHIPPED_CLEANING = "footage_cleaning"


@functools.cache
def _loaded() -> Cleaning:
    return load_net(SHIPPED_CLEANING)


def clean_by(net: nn.Module, strength: float | None, step: float | None = None) -> nn.Module:
    """The same network with its frames cleaned so much, and adapted to what cleaning leaves; ``net`` stays as it is.

    Args:
        net: a ``VSRNet`` on its device.
        strength: share of what cleaning changes: 0 for frames as they are, 1 for what fits them; ``None`` for what the
            network does by itself. The cleaning is the network's own, or the one that ships, with what ships for the
            network's weights (:mod:`vsr_plugin.models.adaptation`).
        step: of the quantiser of the frames' codec, in 255ths, where it is known; ``None`` for what a network's own
            cleaning was told.

    Raises:
        VSRError: the strength is not in [0, 1].
    """
    own = net.cleaning
    if strength is None:
        return net if own is None or step is None else with_cleaning(net, own.at(own.strength, step))
    check_share("clean", strength)
    if not strength:
        return with_cleaning(net, None)
    if own is None:
        own = copy.deepcopy(_loaded()).to(next(net.parameters()).device)
        net = adapted_to_footage(net, step, strength)
    return with_cleaning(net, own.at(strength, own.quantiser_step if step is None else step))
