"""Losses: what PSNR itself is, and the distance between the features that a VGG19 has of two pictures."""

import os
from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.errors import WeightsError
from vsr_plugin.registry import MODELS
from vsr_plugin.weights import PublishedWeights, read_checkpoint, resolve
from vsr_plugin.weights.zoo import fetch


@MODELS.register_module()
class PSNRLoss(nn.Module):
    """Minus PSNR in dB, mean over sequences, each with its own mean squared error.

    A decibel counts the same in a clip that is hardly damaged and in one that is badly: an L1 loss on what is nearly
    right already asks for the median of the error, which is zero.

    Args:
        floor: error in 255ths below which little is to be won. It keeps the loss finite for perfect sequences; where it
            is small they count so much that a cleaning learns to leave everything alone.
        loss_weight: factor of the loss.
    """

    def __init__(self, floor: float = 2.0, loss_weight: float = 1.0):
        super().__init__()
        self.floor = floor
        self.loss_weight = loss_weight

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Compare sequences ``(n, t, c, h, w)`` in [0, 1]; a scalar in dB."""
        error = (pred.float() - target).square().flatten(1).mean(dim=1)
        return self.loss_weight * 10 * torch.log10(error + (self.floor / 255) ** 2).mean()


#: What ImageNet's classifiers of torchvision were trained with: RGB in [0, 1].
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: The layers of VGG19 (arXiv 1409.1556, configuration E) as torchvision counts them, up to the last convolution; behind
#: every convolution stands a ReLU.
_CONVS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
_POOLS = (4, 9, 18, 27)
#: Trained on ImageNet, by torchvision.
VGG19 = PublishedWeights("vgg19", "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", "ImageNet")


class VGG19Features(nn.Module):
    """The convolutions of a VGG19, frozen.

    MMagic's needs torchvision, and a download whenever it is built.

    Args:
        tensors: ``features.N.weight`` and ``features.N.bias`` of the convolutions, as torchvision's state dict has
            them; others are ignored.
        source: name of the file, for the error.

    Raises:
        WeightsError: they are not those of a VGG19.
    """

    def __init__(self, tensors: Mapping[str, Tensor], source: str) -> None:
        super().__init__()
        keys = [f"features.{number}.{part}" for number in _CONVS for part in ("weight", "bias")]
        if absent := [key for key in keys if not isinstance(tensors.get(key), Tensor)]:
            raise WeightsError(f"{source}: no VGG19: it has no tensor {absent[0]}; use torchvision's {VGG19.filename}")
        inputs = [3, *(len(tensors[f"features.{number}.weight"]) for number in _CONVS)]
        self.convs = nn.ModuleDict()
        for number, (before, after) in zip(_CONVS, pairwise(inputs), strict=True):
            weight, bias = tensors[f"features.{number}.weight"], tensors[f"features.{number}.bias"]
            if weight.shape != (after, before, 3, 3) or bias.shape != (after,):
                raise WeightsError(
                    f"{source}: no VGG19: features.{number}.weight has shape {tuple(weight.shape)}, not "
                    f"{(after, before, 3, 3)}; use torchvision's {VGG19.filename}"
                )
            conv = nn.Conv2d(before, after, 3, padding=1)
            conv.load_state_dict(dict(weight=weight, bias=bias))
            self.convs[str(number)] = conv
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1))
        self.requires_grad_(False)

    def forward(self, frames: Tensor, wanted: Mapping[str, float]) -> dict[str, Tensor]:
        """Features of frames ``(n, 3, h, w)`` in [0, 1] by the layers ``wanted``, before their ReLU."""
        x, found = (frames - self.mean) / self.std, {}
        for number in range(max(map(int, wanted)) + 1):
            if number in _POOLS:
                x = F.max_pool2d(x, 2)
            elif number in _CONVS:
                x = self.convs[str(number)](x)
                if str(number) in wanted:
                    found[str(number)] = x
            else:
                x = F.relu(x)
        return found


@MODELS.register_module()
class PerceptualLoss(nn.Module):
    """Mean absolute difference of VGG19 features (Johnson et al., arXiv 1603.08155).

    The weights are read by ``init_weights``, which a training calls at its start, or else at the first use; whoever
    tests a network that was trained with this loss needs none. They are no part of checkpoints.

    Args:
        layer_weights: shares of the layers, by torchvision's numbers of the convolutions; by default RealBasicVSR's.
        weights: ``'vgg19'`` for torchvision's file, in PyTorch's cache or downloaded; or path of a state dict.
        loss_weight: of the sum.

    Raises:
        ValueError: a layer is no convolution of VGG19.
    """

    def __init__(
        self, layer_weights: Mapping[str, float] | None = None, weights: str = "vgg19", loss_weight: float = 1.0
    ) -> None:
        super().__init__()
        self.layer_weights = dict(layer_weights or {"2": 0.1, "7": 0.1, "16": 1.0, "25": 1.0, "34": 1.0})
        for layer in self.layer_weights:
            if layer not in map(str, _CONVS):
                raise ValueError(f"`layer_weights`: {layer!r} is no convolution of VGG19; there are {_CONVS}")
        self.weights = weights
        self.loss_weight = loss_weight
        # In a tuple it is no part of this module, so neither of checkpoints nor of what processes exchange.
        self._vgg: tuple[VGG19Features, ...] = ()

    def init_weights(self) -> None:
        """Read the weights of the VGG19.

        Raises:
            WeightsError: they are not there, or not those of a VGG19.
        """
        if not self._vgg:
            self._vgg = (load_vgg19(self.weights),)

    def forward(self, restored: Tensor, gt: Tensor) -> Tensor:
        """Compare frames.

        Args:
            restored: RGB in [0, 1], ``(n, 3, h, w)``, sides of 16 at least.
            gt: the same; has no gradient.

        Returns:
            A scalar.

        Raises:
            WeightsError: see :meth:`init_weights`.
        """
        self.init_weights()
        # Never in less than float32, which its weights would not come back from.
        dtype = torch.promote_types(restored.dtype, torch.float32)
        vgg = self._vgg[0].to(restored.device, dtype)
        with torch.no_grad():
            expected = vgg(gt, self.layer_weights)
        found = vgg(restored, self.layer_weights)
        # And whatever autocast makes of the features, the mean over millions of them.
        return self.loss_weight * sum(
            weight * F.l1_loss(found[layer].to(dtype), expected[layer].to(dtype))
            for layer, weight in self.layer_weights.items()
        )


def load_vgg19(name_or_path: str | os.PathLike) -> VGG19Features:
    """Read a VGG19, the published one by name or any by path.

    Raises:
        WeightsError: it cannot be found, fetched or read, or is none.
    """
    path = fetch(VGG19) if os.fspath(name_or_path) == VGG19.name else resolve(name_or_path)
    tensors = read_checkpoint(path)
    if not isinstance(tensors, Mapping):
        raise WeightsError(f"{path}: no VGG19: no state dict is in it; use torchvision's {VGG19.filename}")
    return VGG19Features(tensors.get("state_dict", tensors), str(path))
