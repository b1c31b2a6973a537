"""PSNR and SSIM of frames, by MMagic's definitions, with the protocol they were taken under."""

from dataclasses import dataclass

import numpy as np

from vsr_plugin.errors import VSRError
from vsr_plugin.mmagic_host import import_quietly
from vsr_plugin.ops.frames import to_uint8

# SSIM is taken in windows of so many pixels a side.
_SSIM_WINDOW = 11


@dataclass(frozen=True)
class Protocol:
    """How a figure was taken; printed and saved with every figure.

    Args:
        channel: ``'Y'`` (BT.601 luma, as for Vid4, UDM10 and Vimeo-90K-T) or ``'RGB'`` (as for REDS4).
        crop_border: pixels left out at every edge.
    """

    channel: str = "Y"
    crop_border: int = 0

    def __str__(self) -> str:
        """One line for a person."""
        return self.in_words()

    def check_size(self, height: int, width: int) -> None:
        """Raise ``VSRError`` if frames of this size are too small to be measured."""
        if min(height, width) - 2 * self.crop_border < _SSIM_WINDOW:
            raise VSRError(
                f"crop border {self.crop_border}: leaves less than {_SSIM_WINDOW}x{_SSIM_WINDOW} pixels, which SSIM "
                f"needs, of {width}x{height}; choose a smaller --crop-border or larger frames"
            )

    def in_words(self, averaged: str = "mean over frames") -> str:
        """One line for a person, which also says over what figures were averaged."""
        channel = "Y channel (BT.601)" if self.channel == "Y" else "RGB"
        border = f"{self.crop_border} pixels cropped at every edge" if self.crop_border else "no border cropped"
        return f"{channel}, {border}, 8-bit frames after rounding, {averaged}, definitions of MMagic"


def frame_quality(restored: np.ndarray, gt: np.ndarray, protocol: Protocol = Protocol()) -> tuple[float, float]:
    """PSNR in dB and SSIM of one frame against its ground truth.

    Args:
        restored: RGB ``(h, w, 3)``, ``uint8`` or ``uint16``.
        gt: the same.
        protocol: channel and border.

    Returns:
        ``(psnr, ssim)``; PSNR is infinite for equal frames.
    """
    # MMagic's evaluation package takes seconds to import; who does not evaluate need not wait.
    psnr = import_quietly("mmagic.evaluation.metrics.psnr").psnr
    ssim = import_quietly("mmagic.evaluation.metrics.ssim").ssim
    options = dict(crop_border=protocol.crop_border, convert_to="Y" if protocol.channel == "Y" else None)
    pair = to_uint8(gt), to_uint8(restored)
    return float(psnr(*pair, **options)), float(ssim(*pair, **options))
