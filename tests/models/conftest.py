"""Frames and networks that the tests of the networks share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from variants import VARIANTS, make

from vsr_plugin.ops.resize import bicubic_downsample
from vsr_plugin.weights import load_into


def decode(path: Path, count: int, start: int = 30) -> np.ndarray:
    """RGB frames of a clip, ``(count, h, w, 3)``."""
    with av.open(str(path)) as container:
        frames = []
        for i, frame in enumerate(container.decode(video=0)):
            if i >= start:
                frames.append(frame.to_ndarray(format="rgb24"))
            if len(frames) == count:
                return np.stack(frames)
    raise AssertionError(f"{path} has fewer than {start + count} frames")


@pytest.fixture(scope="session")
def lr_frames(real_clip: Callable[[str], Path]) -> Callable[..., Tensor]:
    """Return a function to a real LR sequence ``(1, t, 3, h, w)``, made by BI and rounded to 8 bits."""
    cache = {}

    def make(t: int, h: int, w: int, clip: str = "bikes", mirrored: bool = False) -> Tensor:
        if clip not in cache:
            cache[clip] = np.stack([bicubic_downsample(frame) for frame in decode(real_clip(clip), 12)])
        lrs = torch.from_numpy(cache[clip][:t]).permute(0, 3, 1, 2)[None].float() / 255
        # The middle, where things move.
        top, left = (lrs.size(-2) - h) // 2, (lrs.size(-1) - w) // 2
        assert lrs.size(1) == t
        assert min(top, left) >= 0
        lrs = lrs[..., top : top + h, left : left + w].contiguous()
        return torch.cat((lrs, lrs.flip(1)), dim=1) if mirrored else lrs

    return make


@torch.no_grad()
def _randomise(net: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in net.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
        fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
        if name.endswith(("conv_offset.weight", "conv_offset.6.weight")):
            scale = 4 / fan_in**0.5
        elif parameter.dim() > 1:
            scale = 0.5 / fan_in**0.5
        else:
            scale = 0.02
        parameter.add_(noise * scale)
    return net


@pytest.fixture(scope="session")
def randomise() -> Callable[..., nn.Module]:
    """Return a function that moves every parameter of a network away from its start.

    So no part is idle, and the displacements of deformable convolutions reach some pixels.
    """
    return _randomise


@pytest.fixture
def mmagic_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let MMagic's EDVR use our deformable convolution where mmcv is compiled, as it does where it is not.

    mmcv 2.1's kernel floors positions in float32 and so loses samples within 1e-5 of a border.
    """
    from mmagic.models.editors.edvr import edvr_net

    from vsr_plugin.mmagic_host.mmcv_ops import modulated_deform_conv2d

    monkeypatch.setattr(edvr_net, "modulated_deform_conv2d", modulated_deform_conv2d)


@pytest.fixture(scope="session")
def real_spynet(official: str) -> Callable[[nn.Module], nn.Module]:
    """Return a function that gives a network's ``spynet`` the published weights."""

    def load(net: nn.Module) -> nn.Module:
        load_into(net.spynet, official)
        return net

    return load


@pytest.fixture(scope="session")
def nets() -> dict[tuple, nn.Module]:
    """Return one network of every combination of components, with random weights."""
    return {variant: _randomise(make(*variant)).eval() for variant in VARIANTS}


@pytest.fixture
def net(nets: dict[tuple, nn.Module], request: pytest.FixtureRequest) -> nn.Module:
    """Return the one that a test is parametrised with."""
    return nets[request.param]
