import numpy as np
import torch

from vsr_plugin.benchmarks.quality import measure_sizes
from vsr_plugin.evaluation import frame_quality
from vsr_plugin.inference import restore_frames
from vsr_plugin.models import BasicVSRNet
from vsr_plugin.ops.resize import bicubic_downsample, bicubic_resize


def test_figures_are_those_of_frames_cut_to_multiples_of_the_scale():
    torch.manual_seed(0)
    net = BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4).eval()
    rng = np.random.default_rng(0)
    gt = [rng.integers(0, 256, (32, 50, 3), np.uint8) for _ in range(2)]
    rows = list(measure_sizes(net, gt, [2, 3]))
    assert [(scale, size) for scale, size, *_ in rows] == [(2, (16, 25)), (3, (10, 16))]
    cut = [frame[:30, :48] for frame in gt]
    lrs = [bicubic_downsample(np.ascontiguousarray(frame), 3) for frame in cut]
    for figure, frames in zip(
        rows[1][2:], ([bicubic_resize(lr, 3) for lr in lrs], restore_frames(net, lrs, height=30)), strict=True
    ):
        assert np.isclose(figure, np.mean([frame_quality(hr, true)[0] for hr, true in zip(frames, cut, strict=True)]))
