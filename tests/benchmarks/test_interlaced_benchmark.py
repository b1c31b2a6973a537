import numpy as np
import torch

from vsr_plugin.benchmarks.quality import measure_interlaced
from vsr_plugin.models import BasicVSRNet


def test_whole_frames_are_nearer_to_the_truth_than_woven_ones():
    torch.manual_seed(0)
    net = BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4).eval()
    x = np.arange(96)
    # A soft bar that moves eight pixels a frame.
    bars = [(255 * np.exp(-(((x - 20 - 8 * i) / 9) ** 2))).astype(np.uint8) for i in range(8)]
    gt = [np.repeat(np.tile(bar, (64, 1))[..., None], 3, axis=2) for bar in bars]
    figures = {name: (bicubic, restored) for name, bicubic, restored in measure_interlaced(net, gt)}
    interlaced = ["off", "on", "progressive", "fields", "progressive, twice the rate"]
    assert list(figures) == [*interlaced, "off, telecined", "on, telecined", "film"]
    # In the bicubic enlargement nothing but the weaving differs.
    assert figures["off"][0] + 3 < figures["on"][0] < figures["progressive"][0]
    assert figures["off"][0] + 3 < figures["fields"][0] < figures["progressive, twice the rate"][0]
    assert figures["off, telecined"][0] + 2 < min(figures["on, telecined"][0], figures["film"][0])
    assert np.isfinite([restored for _, restored in figures.values()]).all()
