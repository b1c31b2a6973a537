from pathlib import Path

import pytest
import torch
from branch_steps import backward_step, forward_step

from vsr_plugin.errors import WeightsError
from vsr_plugin.models import BasicVSRNet, IconVSRNet
from vsr_plugin.weights import warm_start

SIZES = dict(mid_channels=8, num_blocks=2)


@pytest.fixture
def basicvsr(tmp_path: Path) -> tuple[BasicVSRNet, Path]:
    """Return a BasicVSR and the file with its weights."""
    torch.manual_seed(0)
    net = BasicVSRNet(**SIZES)
    torch.save(net.state_dict(), tmp_path / "basicvsr.pth")
    return net, tmp_path / "basicvsr.pth"


def test_both_branches_compute_what_basicvsr_computes(basicvsr: tuple[BasicVSRNet, Path]) -> None:
    trained, path = basicvsr
    net = IconVSRNet(**SIZES)
    warm_start(net, path)
    lr, flow, state = torch.rand(1, 3, 8, 8), torch.randn(1, 2, 8, 8), torch.rand(1, 8, 8, 8)
    refill, backward = torch.rand(1, 8, 8, 8), torch.rand(1, 8, 8, 8)
    with torch.no_grad():
        for step in (backward_step(net, lr, flow, state), backward_step(net, lr, flow, state, refill)):
            torch.testing.assert_close(step, backward_step(trained, lr, flow, state))
        torch.testing.assert_close(
            forward_step(net, lr, flow, state, backward, refill), forward_step(trained, lr, flow, state)
        )
        lrs = torch.rand(1, 2, 3, 32, 32)
        torch.testing.assert_close(net.estimate_flows(lrs), trained.estimate_flows(lrs))
    assert torch.equal(net.upsample2.upsample_conv.weight, trained.upsample2.upsample_conv.weight)


def test_what_is_new_can_learn(basicvsr: tuple[BasicVSRNet, Path]) -> None:
    net = IconVSRNet(**SIZES, init_cfg=dict(type="WarmStart", checkpoint=str(basicvsr[1])))
    net.init_weights()
    net(torch.rand(1, 3, 3, 16, 16)).square().mean().backward()
    assert net.forward_resblocks.main[0].weight.grad[:, 3:11].abs().amin((2, 3)).max() > 0
    assert net.forward_fusion.weight.grad[:, 8:].abs().max() > 0


def test_other_weights_are_refused(basicvsr: tuple[BasicVSRNet, Path], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="has 8 channels and 2 blocks, the network 8 channels and 3 blocks"):
        warm_start(IconVSRNet(mid_channels=8, num_blocks=3), basicvsr[1])
    torch.save(IconVSRNet(**SIZES).edvr.state_dict(), tmp_path / "edvr.pth")
    with pytest.raises(
        WeightsError, match="weights of EDVRFeatureExtractor; a warm start of IconVSRNet takes BasicVSR's or its own"
    ):
        warm_start(IconVSRNet(**SIZES), tmp_path / "edvr.pth")
