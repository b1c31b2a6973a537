"""What making whole frames of interlaced video before restoring it is worth."""

from collections.abc import Iterator

import av
import numpy as np
import torch.nn as nn

from vsr_plugin.datasets.degradations import bicubic_downsample, bicubic_upsample
from vsr_plugin.evaluation.benchmarking.inputs import psnr_per_frame
from vsr_plugin.inference import restore_frames
from vsr_plugin.media.deinterlacing import whole_frames


def measure_interlaced(net: nn.Module, gt: list[np.ndarray]) -> Iterator[tuple[str, float, float]]:
    """Degrade a progressive clip, make every second frame's odd lines those of the next, and restore that.

    Args:
        net: ``BasicVSRNet`` or ``IconVSRNet`` in evaluation mode.
        gt: RGB arrays ``(scale * h, scale * w, 3)``, an even number, which are degraded by BI.

    Yields:
        What was restored (``'progressive'`` stands for a camera that took whole frames), mean Y-PSNR in dB of bicubic
        enlargement, and that of restored frames, both against the frames of those moments.
    """
    lrs = [bicubic_downsample(frame, net.scale) for frame in gt]
    woven = [_weave(*pair) for pair in zip(lrs[::2], lrs[1::2], strict=True)]
    cases = {
        "off": (woven, gt[::2]),
        "on": (_deinterlaced(woven, "on"), gt[::2]),
        "progressive": (lrs[::2], gt[::2]),
        "fields": (_deinterlaced(woven, "fields"), gt),
        "progressive, twice the rate": (lrs, gt),
    }
    for name, (frames, true) in cases.items():
        bicubic = psnr_per_frame((bicubic_upsample(frame, net.scale) for frame in frames), true)
        restored = psnr_per_frame(restore_frames(net, frames, num_frames=len(frames)), true)
        yield name, float(bicubic.mean()), float(restored.mean())


def _weave(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    picture = first.copy()
    picture[1::2] = second[1::2]
    return picture


def _deinterlaced(frames: list[np.ndarray], mode: str) -> list[np.ndarray]:
    def pictures() -> Iterator[av.VideoFrame]:
        for i, rgb in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            picture.pts, picture.time_base = i, 1
            yield picture

    return [picture.to_ndarray(format="rgb24") for picture in whole_frames(pictures(), mode, "woven frames")]
