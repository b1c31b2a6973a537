"""What fine-tuning for some kind of footage has changed in a network's weights, in a form that is small enough to ship.

Shares of it are added to the weights, at no cost in time: between none and all of it lies what serves footage between
clean and coarsely compressed (WiSE-FT, arXiv 2109.01903). Two of them ship, for footage finely and coarsely quantised.
"""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.defaults import USUAL_STEP
from vsr_plugin.errors import WeightsError
from vsr_plugin.weights import read_checkpoint
from vsr_plugin.weights.zoo import SHIPPED

#: What ships, and the quantiser's step (in 255ths) of the footage that it serves best. Between two such steps go shares
#: of both, by the step's doublings, and below the first a share of it, down to none at a step of 1.
SHIPPED_ADAPTATIONS = {"footage_adaptation_fine": 16.0, "footage_adaptation_coarse": 50.0}

#: Tensor of a file that names the weights which were fine-tuned, and what the others' names end with.
_ORIGIN, _UP, _DOWN, _CHANGE = "origin", ".up", ".down", ".change"


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
    def load(cls, name: str) -> Adaptation:
        """Read one that ships, by name, or one from a file; it is kept.

        Raises:
            WeightsError: the file cannot be read, or holds no adaptation.
        """
        tensors = read_checkpoint(SHIPPED.get(name, name))
        if _ORIGIN not in tensors:
            raise WeightsError(f"{name}: holds no adaptation, such as training with the hook SaveAdaptation writes")
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


def shares_for(step: float | None) -> dict[str, float]:
    """How much of each adaptation that ships serves footage best whose codec quantised in steps of so many 255ths.

    Example:
        >>> shares_for(16)
        {'footage_adaptation_fine': 1.0}
        >>> {name: round(share, 2) for name, share in shares_for(20).items()}
        {'footage_adaptation_fine': 0.8, 'footage_adaptation_coarse': 0.2}
    """
    places = np.log([1.0, *SHIPPED_ADAPTATIONS.values()])
    place = np.log(USUAL_STEP if step is None else step)
    shares = {
        # Last bits of logarithms depend on the processor, and a job is taken up again only with the same weights.
        name: round(float(np.interp(place, places, np.arange(len(places)) == number)), 6)
        for number, name in enumerate(SHIPPED_ADAPTATIONS, 1)
    }
    return {name: share for name, share in shares.items() if share}


def adapted_to_footage(net: nn.Module, step: float | None, strength: float = 1.0) -> nn.Module:
    """A network with what ships for its weights; the network itself where nothing does, or nothing is to be added.

    Args:
        net: a ``VSRNet``; stays as it is.
        step: of the quantiser of the frames' codec, in 255ths, where it is known.
        strength: share of what fits that step.
    """
    shares = {Adaptation.load(name): strength * share for name, share in shares_for(step).items() if strength}
    if all(adaptation.fits(net) for adaptation in shares):
        for adaptation, share in shares.items():
            net = adaptation.adapted(net, share)
    return net
