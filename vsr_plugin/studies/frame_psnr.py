"""PSNR of every frame, the measure that the studies share."""

import numpy as np

from vsr_plugin.evaluation.quality import Protocol, frame_quality

#: As in the documentation's other figures.
PROTOCOL = Protocol("Y", 0)


def frame_psnr(restored: np.ndarray, gts: np.ndarray) -> list[float]:
    """Y-PSNR in dB of frames ``(t, H, W, 3)`` of ``uint8``."""
    return [frame_quality(frame, gt, PROTOCOL)[0] for frame, gt in zip(restored, gts, strict=True)]


def describe_clip(settings: dict) -> str:
    """A clip of a part's settings in a line for the protocol."""
    height, width = settings["size"]
    end = settings["start"] + settings["frames"] - 1
    return (
        f"{settings['clip']}: frames {settings['start']} to {end}, at most {width}x{height} from the top left, "
        "degraded by BI and rounded to 8 bits"
    )
