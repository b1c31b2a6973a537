"""Networks of every combination of components, small; shared by the tests of the components."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from vsr_plugin.models import BasicVSRNet, IconVSRNet
from vsr_plugin.models.propagation import PROPAGATIONS

#: Propagations of BasicVSR++, and of BasicVSR with a part of it.
_LATER = ("second_order", "grid", "second_order_grid")
_EARLIER = [name for name in PROPAGATIONS.names() if name not in _LATER]
VARIANTS = [
    *product((BasicVSRNet, IconVSRNet), _EARLIER, ("none", "image", "feature")),
    *product((BasicVSRNet,), _LATER, ("none", "image", "feature")),
    *product((BasicVSRNet,), ("bidirectional", "unidirectional", *_LATER), ("deformable",)),
    (IconVSRNet, "second_order", "image"),
    (IconVSRNet, "grid", "deformable"),
]
IDS = ["-".join((net_class.__name__, *choices)) for net_class, *choices in VARIANTS]


def make(
    net_class: type = BasicVSRNet, propagation: str = "bidirectional", alignment: str = "feature", **more
) -> nn.Module:
    """A small network, always with the same weights; local propagation in two segments, keyframes every third frame."""
    if propagation == "local":
        more.setdefault("segments", 2)
    if net_class is IconVSRNet:
        more.setdefault("keyframe_stride", 3)
    more.setdefault("spynet_width", 4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return net_class(mid_channels=8, num_blocks=1, propagation=propagation, alignment=alignment, **more)


all_variants = pytest.mark.parametrize("net", VARIANTS, ids=IDS, indirect=True)
#: What takes long with the extractor runs with three kinds of IconVSR, and with all of them in the slow tests.
_QUICK = {("local", "image"), ("unidirectional", "none"), ("bidirectional", "feature"), ("grid", "deformable")}
most_variants = pytest.mark.parametrize(
    "net",
    [
        pytest.param(v, id=name, marks=() if v[0] is BasicVSRNet or v[1:] in _QUICK else pytest.mark.slow)
        for v, name in zip(VARIANTS, IDS, strict=True)
    ],
    indirect=True,
)


def sequence(t: int, h: int = 12, w: int = 16) -> Tensor:
    return torch.rand(1, t, 3, h, w, generator=torch.Generator().manual_seed(t))


def frames_that_change(net: nn.Module, changed: Iterable[int], t: int = 6) -> list[set[int]]:
    """Output frames that depend on each of some input frames.

    In float64, since what a frame five steps away adds may be less than float32 rounds to.
    """
    net = copy.deepcopy(net).double()
    lrs = sequence(t, 6, 8).double()
    restored, depend = net(lrs), []
    for i in changed:
        other = lrs.clone()
        other[:, i] = 1 - other[:, i]
        difference = (net(other) - restored).abs().amax(dim=(0, 2, 3, 4))
        depend.append(set(difference.nonzero().flatten().tolist()))
    return depend
