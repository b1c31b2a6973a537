import numpy as np
import torch

from vsr_plugin.benchmarks.quality import measure_windows
from vsr_plugin.models import BasicVSRNet


def test_a_window_of_the_whole_length_costs_nothing_and_short_ones_differ():
    torch.manual_seed(0)
    net = BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4).eval()
    rng = np.random.default_rng(0)
    gt = [rng.integers(0, 256, (32, 48, 3), np.uint8) for _ in range(6)]
    _, costs = measure_windows(net, gt, [(6, 0), (2, 0)])
    enough, short = costs
    assert len(enough.difference) == 6
    assert np.abs(enough.difference).max() < 1e-3
    assert np.abs(short.difference).max() > 1e-3
