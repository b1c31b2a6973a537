import pytest
import torch

from vsr_plugin.models import BasicVSRNet


@pytest.fixture(scope="session")
def small_net():
    """A net whose result depends on every frame of the sequence, small enough for many runs."""
    torch.manual_seed(0)
    return BasicVSRNet(mid_channels=8, num_blocks=1).eval()
