import pytest
import torch

from vsr_plugin.acceleration import accelerate
from vsr_plugin.errors import VSRError
from vsr_plugin.inference.tiling import MIN_TILE, run_in_tiles, tile_net
from vsr_plugin.models import BasicVSRNet


@pytest.mark.parametrize(("h", "w"), [(70, 90), (29, 101), (28, 28), (57, 30)])
def test_tiles_do_not_change_the_result(either_net, h, w):
    lrs = torch.rand(1, 3, 3, h, w, generator=torch.Generator().manual_seed(h))
    with torch.no_grad():
        torch.testing.assert_close(tile_net(either_net, MIN_TILE)(lrs), either_net(lrs), atol=1e-5, rtol=0)


def test_deep_branches():
    torch.manual_seed(2)
    net = BasicVSRNet(mid_channels=8, num_blocks=14).eval()
    with torch.no_grad():
        for parameter in net.backward_resblocks.parameters():
            parameter.mul_(2)  # so that the far end of the receptive field matters
        lrs = torch.rand(1, 2, 3, 60, 95)
        torch.testing.assert_close(tile_net(net, MIN_TILE)(lrs), net(lrs), atol=1e-5, rtol=1e-5)


def test_the_net_itself_is_not_changed(either_net):
    keys, modules = list(either_net.state_dict()), dict(either_net.named_modules())
    tile_net(either_net, 64)
    assert list(either_net.state_dict()) == keys
    assert dict(either_net.named_modules()) == modules
    assert "upsample" not in vars(either_net)


def test_a_margin_narrower_than_the_reach_shows():
    conv = torch.nn.Conv2d(1, 1, 3, padding=1)
    x = torch.rand(1, 1, 20, 20)
    with torch.no_grad():
        torch.testing.assert_close(run_in_tiles(conv, (x,), tile=7, reach=1), conv(x))
        assert (run_in_tiles(conv, (x,), tile=7, reach=0) - conv(x)).abs().max() > 1e-3


def test_a_tile_smaller_than_the_overlap(small_net):
    with pytest.raises(VSRError, match=f"use {MIN_TILE} or more"):
        tile_net(small_net, MIN_TILE - 1)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tiles_of_an_accelerated_net(either_net, precision):
    try:
        fast = accelerate(either_net, precision=precision)
    except VSRError as error:
        pytest.skip(str(error))
    lrs = torch.rand(1, 3, 3, 57, 61, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.testing.assert_close(
            tile_net(fast, MIN_TILE)(lrs), fast(lrs), atol=1e-5 if precision == "fp32" else 2e-2, rtol=0
        )
