"""The networks are one graph to TorchDynamo: nothing in them falls back to Python."""

import sys

import pytest
import torch

from vsr_plugin.models import BasicVSRNet, IconVSRNet

pytestmark = pytest.mark.skipif(
    sys.version_info >= (3, 12) and torch.__version__ < "2.4", reason="this PyTorch does not compile on this Python"
)


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("net_class", "arguments"), [(BasicVSRNet, {}), (IconVSRNet, dict(keyframe_stride=3, padding=1))]
)
@torch.no_grad()
def test_no_graph_breaks_in_evaluation(net_class, arguments, randomise):
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        pytest.skip("Dynamo traces generators from PyTorch 2.6 or so")
    torch.manual_seed(0)
    net = randomise(net_class(mid_channels=4, num_blocks=1, spynet_width=4, **arguments)).eval()
    lrs = torch.rand(1, 3, 3, 9, 14)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    assert (compiled(lrs) - net(lrs)).abs().max() < 5e-6


@pytest.mark.slow
@pytest.mark.parametrize("net_class", [BasicVSRNet, IconVSRNet])
def test_no_graph_breaks_in_training(net_class):
    torch.manual_seed(0)
    net = net_class(mid_channels=4, num_blocks=1, spynet_width=4)
    lrs = torch.rand(1, 3, 3, 20, 24)
    net(lrs).square().mean().backward()
    expected = net.conv_last.weight.grad.clone()
    net.zero_grad()
    torch.compile(net, fullgraph=True, backend="aot_eager")(lrs).square().mean().backward()
    assert (net.conv_last.weight.grad - expected).abs().max() <= 1e-4 * expected.abs().max()
