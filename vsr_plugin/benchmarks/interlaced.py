"""What making whole frames of interlaced video before restoring it is worth."""

from collections.abc import Iterator

import av
import numpy as np
import torch.nn as nn

from vsr_plugin.benchmarks.inputs import psnr_per_frame
from vsr_plugin.inference import restore_frames
from vsr_plugin.media.deinterlacing import whole_frames
from vsr_plugin.ops.resize import bicubic_downsample, bicubic_upsample


def measure_interlaced(net: nn.Module, gt: list[np.ndarray]) -> Iterator[tuple[str, float, float]]:
    """Degrade a progressive clip, make interlaced and telecined video of it, and restore that.

    In interlaced video every second frame has the odd lines of the next; in telecined video two and three fields in
    turn are of one frame.

    Args:
        net: ``BasicVSRNet`` or ``IconVSRNet`` in evaluation mode.
        gt: RGB arrays ``(scale * h, scale * w, 3)``, a multiple of four, which are degraded by BI.

    Yields:
        What was restored (``'progressive'`` stands for a camera that took whole frames), mean Y-PSNR in dB of bicubic
        enlargement, and that of restored frames, both against the frames of those moments.
    """
    lrs = [bicubic_downsample(frame, net.scale) for frame in gt]
    telecined, shown = _telecine(lrs)
    woven = [_weave(*pair) for pair in zip(lrs[::2], lrs[1::2], strict=True)]
    cases = {
        "off": (woven, gt[::2]),
        "on": (_deinterlaced(woven, "on"), gt[::2]),
        "progressive": (lrs[::2], gt[::2]),
        "fields": (_deinterlaced(woven, "fields"), gt),
        "progressive, twice the rate": (lrs, gt),
        "off, telecined": (telecined, [gt[i] for i in shown]),
        "on, telecined": (_deinterlaced(telecined, "on"), [gt[i] for i in shown]),
        "film": (_deinterlaced(telecined, "film"), gt),
    }
    for name, (frames, true) in cases.items():
        bicubic = psnr_per_frame((bicubic_upsample(frame, net.scale) for frame in frames), true)
        restored = psnr_per_frame(restore_frames(net, frames, num_frames=len(frames)), true)
        yield name, float(bicubic.mean()), float(restored.mean())


def _weave(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    picture = first.copy()
    picture[1::2] = second[1::2]
    return picture


def _telecine(frames: list[np.ndarray]) -> tuple[list[np.ndarray], list[int]]:
    """Five pictures for every four frames, and the number of the frame that the even lines of each are of."""
    fields = [i for i in range(len(frames)) for _ in range(2 + i % 2)]
    even, odd = fields[::2], fields[1::2]
    return [_weave(frames[a], frames[b]) for a, b in zip(even, odd, strict=True)], even


def _deinterlaced(frames: list[np.ndarray], mode: str) -> list[np.ndarray]:
    def pictures() -> Iterator[av.VideoFrame]:
        for i, rgb in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            if mode == "film":  # its filter knows no RGB
                picture = picture.reformat(format="yuv444p")
            picture.pts, picture.time_base = i, 1
            yield picture

    return [picture.to_ndarray(format="rgb24") for picture in whole_frames(pictures(), mode, "woven frames")]
