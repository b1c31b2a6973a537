"""What restoring to another size than the network's own gains over bicubic enlargement to it."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch.nn as nn

from vsr_plugin.benchmarks.inputs import psnr_per_frame
from vsr_plugin.inference import restore_frames
from vsr_plugin.ops.resize import bicubic_downsample, bicubic_upsample


def measure_sizes(
    net: nn.Module, gt: list[np.ndarray], scales: Iterable[int]
) -> Iterator[tuple[int, tuple[int, int], float, float]]:
    """Degrade ground truth by each scale, and restore it to its size.

    Args:
        net: of any scale of its own.
        gt: ``uint8`` RGB ``(h, w, 3)``; cut at the right and at the bottom to multiples of the scale.
        scales: by which frames are reduced, BI, rounded to 8 bits, and then enlarged.

    Yields:
        Scale, height and width of the LR frames, mean Y-PSNR in dB of bicubic enlargement, and that of restored frames.
    """
    for scale in scales:
        rows, columns = (side // scale * scale for side in gt[0].shape[:2])
        cut = [np.ascontiguousarray(frame[:rows, :columns]) for frame in gt]
        lrs = [bicubic_downsample(frame, scale) for frame in cut]
        bicubic = psnr_per_frame((bicubic_upsample(lr, scale) for lr in lrs), cut)
        restored = psnr_per_frame(restore_frames(net, lrs, num_frames=len(lrs), scale=scale), cut)
        yield scale, lrs[0].shape[:2], float(bicubic.mean()), float(restored.mean())
