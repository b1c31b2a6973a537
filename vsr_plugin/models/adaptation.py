"""What fine-tuning for some kind of footage has changed in a network's weights, in a form that is small enough to ship.

A share of it is added to the weights: between none and all of it lies what serves footage between clean and coarsely
compressed (WiSE-FT, arXiv 2109.01903), at no cost in time.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.errors import WeightsError
from vsr_plugin.weights import read_checkpoint
from vsr_plugin.weights.zoo import SHIPPED

#: Name of the weights that ship.
SHIPPED_ADAPTATION = "footage_adaptation"

#: Tensor of a file that names the weights which were fine-tuned, and what the others' names end with.
_ORIGIN, _UP, _DOWN, _CHANGE = "origin", ".up", ".down", ".change"

#: The quantiser's steps (in 255ths) at which a half is added, and from which on everything; the share goes with the
#: step's doublings. And what is added where the step is not known. Found on the videos among the material that the
#: weights were fine-tuned on (docs/footage.md).
_HALF_AT, _WHOLE_AT, _UNKNOWN = 8.0, 50.0, 0.6


class Adaptation:
    """Changes of a network's weights; those of convolutions are products of two matrices of low rank.

    Low rank as in LoRA (arXiv 2106.09685), but found after the training: of all ranks so many, by singular values.

    Args:
        tensors: ``NAME.up`` ``(out, rank)`` and ``NAME.down`` ``(rank, in * kh * kw)`` of each convolution,
            ``NAME.change`` of other parameters, and ``origin``, the SHA-256 of what was fine-tuned as ``uint8``.
    """

    def __init__(self, tensors: Mapping[str, Tensor]):
        self.tensors = dict(tensors)

    @classmethod
    @functools.cache
    def load(cls, path: str | Path = SHIPPED[SHIPPED_ADAPTATION]) -> Adaptation:
        """Read one from a file, the one that ships unless told otherwise; it is kept.

        Raises:
            WeightsError: the file cannot be read, or holds no adaptation.
        """
        tensors = read_checkpoint(path)
        if _ORIGIN not in tensors:
            raise WeightsError(f"{path}: holds no adaptation, such as training with the hook SaveAdaptation writes")
        return cls(tensors)

    @classmethod
    def between(cls, before: nn.Module, after: nn.Module, rank: int) -> Adaptation:
        """What turns one network into another of the same architecture, as far as the rank allows.

        Args:
            before: the network that was fine-tuned.
            after: what became of it.
            rank: at most, for each convolution.
        """
        tensors, old = {}, before.state_dict()
        for name, parameter in after.named_parameters():
            if name not in old or torch.equal(change := parameter.detach() - old[name], torch.zeros_like(parameter)):
                continue
            if change.dim() < 2:
                tensors[name + _CHANGE] = change.half()
                continue
            up, strength, down = torch.linalg.svd(change.flatten(1), full_matrices=False)
            # Either gets its share of the strength, so that both stay far from the ends of float16.
            root = strength[:rank].sqrt()
            tensors[name + _UP] = (up[:, :rank] * root).half().contiguous()
            tensors[name + _DOWN] = (root[:, None] * down[:rank]).half().contiguous()
        made = cls(tensors)
        made.tensors[_ORIGIN] = made._origin_of(before)
        return made

    def fits(self, net: nn.Module) -> bool:
        """Whether a network has the very weights that were fine-tuned."""
        names = dict(net.named_parameters())
        if any(self._parameter(name) not in names for name in self.tensors if name != _ORIGIN):
            return False
        return torch.equal(self._origin_of(net), self.tensors[_ORIGIN])

    def adapted(self, net: nn.Module, share: float) -> nn.Module:
        """A copy of a network with a share of the changes.

        Args:
            net: one that this fits; stays as it is.
            share: from 0 for none to 1 for all.
        """
        other = copy.deepcopy(net)
        with torch.no_grad():
            for name, parameter in other.named_parameters():
                change = self._change(name)
                if change is not None:
                    parameter += share * change.to(parameter).view_as(parameter)
        return other

    def _change(self, name: str) -> Tensor | None:
        if name + _UP not in self.tensors:
            change = self.tensors.get(name + _CHANGE)
            return None if change is None else change.float()
        up, down = self.tensors[name + _UP].float(), self.tensors[name + _DOWN].float()
        # One product after the other: a product of matrices may be other bits on another machine or number of threads,
        # and a job is taken up again only by the very network that began it.
        total = torch.zeros(len(up), down.size(1))
        for column, row in zip(up.T, down, strict=True):
            total += column[:, None] * row
        return total

    @staticmethod
    def _parameter(name: str) -> str:
        return name.rsplit(".", 1)[0]

    def _origin_of(self, net: nn.Module) -> Tensor:
        """SHA-256 of those parameters that this changes, as ``uint8``."""
        digest, parameters = hashlib.sha256(), dict(net.named_parameters())
        for name in sorted({self._parameter(name) for name in self.tensors if name != _ORIGIN}):
            tensor = parameters[name].detach().float().cpu().contiguous()
            digest.update(f"{name} {tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
        return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)


def share_for(step: float | None) -> float:
    """How much of the adaptation that ships serves footage best whose codec quantised in steps of so many 255ths.

    Example:
        >>> [round(share_for(step), 2) for step in (None, 1, 8, 20, 100)]
        [0.6, 0.0, 0.5, 0.75, 1.0]
    """
    if step is None:
        return _UNKNOWN
    return min(max(0.5 + 0.5 * math.log(step / _HALF_AT) / math.log(_WHOLE_AT / _HALF_AT), 0.0), 1.0)


def adapted_to_footage(net: nn.Module, step: float | None, strength: float = 1.0) -> nn.Module:
    """A network with what ships for its weights; the network itself where nothing does, or nothing is to be added.

    Args:
        net: a ``VSRNet``; stays as it is.
        step: of the quantiser of the frames' codec, in 255ths, where it is known.
        strength: share of what fits that step.
    """
    share, shipped = strength * share_for(step), Adaptation.load()
    return shipped.adapted(net, share) if share and shipped.fits(net) else net
