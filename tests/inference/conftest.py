import pytest
import torch

from vsr_plugin.models import BasicVSRNet, IconVSRNet


@pytest.fixture(scope="session")
def small_net():
    """A net whose result depends on every frame of the sequence, small enough for many runs."""
    torch.manual_seed(0)
    return BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4).eval()


@pytest.fixture(scope="session", params=[BasicVSRNet, IconVSRNet], ids=["BasicVSR", "IconVSR"])
def either_net(request):
    """Both networks, small, with flows and offsets that are not zero."""
    torch.manual_seed(1)
    net = request.param(mid_channels=8, num_blocks=2, spynet_width=4).eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "conv_offset" in name:
                parameter.normal_(std=0.1)
    return net
