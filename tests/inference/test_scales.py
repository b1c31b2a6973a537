"""Networks of other scales than 4 through the engine: strategies, tiles, precision, memory, files."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vsr_plugin.acceleration import accelerate
from vsr_plugin.errors import VSRError
from vsr_plugin.inference import restore_frames
from vsr_plugin.inference.planning import MemoryModel
from vsr_plugin.inference.tiling import MIN_TILE, tile_net
from vsr_plugin.models import BasicVSRNet, IconVSRNet


@pytest.fixture(scope="module", params=[BasicVSRNet, IconVSRNet], ids=["BasicVSR", "IconVSR"])
def make_net(request):
    """A function from a scale to a small net in which no part is idle."""

    def make(scale):
        torch.manual_seed(scale)
        net = request.param(mid_channels=8, num_blocks=2, scale=scale).eval()
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                if "upsample" in name and name.endswith("weight"):
                    parameter.mul_(4)  # towards what the initialisation takes away
                if "conv_offset" in name:
                    parameter.normal_(std=0.1)
            # What is added to the enlarged frame grows with every shuffle, to 9 at scale 8, and rounding grows with it.
            # In pictures it is at most 1, at any scale.
            lrs = torch.rand(1, 2, 3, 12, 16)
            added = net(lrs) - F.interpolate(lrs[0], scale_factor=scale, mode="bilinear")
            for parameter in net.conv_last.parameters():
                parameter.div_(added.abs().max().clamp(min=1))
        return net

    return make


def random_clip(t, h=9, w=11):
    return list(torch.rand(t, 3, h, w, generator=torch.Generator().manual_seed(t)))


@pytest.mark.parametrize("scale", [2, 3, 8])
@pytest.mark.parametrize("strategy", ["whole", "exact"])
def test_strategies_give_the_same_result(make_net, scale, strategy, tmp_path):
    net, clip = make_net(scale), random_clip(40)
    with torch.no_grad():
        expected = net(torch.stack(clip)[None])[0].clamp(0, 1)
    restored = torch.stack(list(restore_frames(net, iter(clip), strategy=strategy, work_dir=str(tmp_path))))
    assert restored.shape == (40, 3, 9 * scale, 11 * scale)
    torch.testing.assert_close(restored, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 8])
def test_windows_give_all_frames(make_net, scale):
    clip = [np.full((9, 11, 3), 10 * i, np.uint8) for i in range(12)]
    restored = list(restore_frames(make_net(scale), clip, strategy="window", window=4, overlap=3))
    assert [(frame.shape, frame.dtype) for frame in restored] == [((9 * scale, 11 * scale, 3), np.uint8)] * 12


@pytest.mark.parametrize("scale", [2, 3, 8])
@pytest.mark.parametrize("fast", [False, True])
def test_tiles_do_not_change_the_result(make_net, scale, fast):
    net = make_net(scale)
    lrs = torch.rand(1, 2, 3, 57, 61, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        tiled = tile_net(accelerate(net) if fast else net, MIN_TILE)
        expected = net(lrs)
        assert (tiled(lrs) - expected).abs().max() <= 5e-6 * expected.abs().max()


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_reduced_precision(make_net, scale):
    net = make_net(scale)
    try:
        fast = accelerate(net, precision="bf16")
    except VSRError as error:
        pytest.skip(str(error))
    lrs = torch.rand(1, 2, 3, 12, 16)
    with torch.no_grad():
        torch.testing.assert_close(fast(lrs), net(lrs), atol=1.5e-2, rtol=0)


def test_memory_follows_the_scale():
    needs = [MemoryModel(BasicVSRNet(scale=scale), 360, 640).working(None) for scale in (2, 3, 4, 8)]
    assert needs == sorted(needs)
    # With tiles, frames at HR size remain: three times 12 bytes a pixel.
    tiled = [MemoryModel(BasicVSRNet(scale=scale), 360, 640).working(MIN_TILE) for scale in (4, 8)]
    assert tiled[1] - tiled[0] > 36 * (64 - 16) * 360 * 640
    assert needs[3] > 3 * needs[2]
