"""Quality of every restored frame, beside that of bicubic enlargement, as means and as CSV."""

import csv
import io
from dataclasses import dataclass, field

import numpy as np

from vsr_plugin.evaluation import Protocol, frame_quality
from vsr_plugin.ops.resize import bicubic_resize


@dataclass
class QualityLog:
    """Collects PSNR and SSIM per frame.

    Args:
        protocol: how the figures are taken.
    """

    protocol: Protocol
    rows: list[dict[str, float]] = field(default_factory=list)

    def add(self, index: int, lr: np.ndarray, restored: np.ndarray, gt: np.ndarray) -> None:
        """Score a frame and its bicubic enlargement; RGB arrays ``(h, w, 3)`` of ``uint8`` or ``uint16``."""
        psnr, ssim = frame_quality(restored, gt, self.protocol)
        bicubic_psnr, bicubic_ssim = frame_quality(bicubic_resize(lr, restored.shape[:2]), gt, self.protocol)
        self.rows.append(dict(frame=index, psnr=psnr, ssim=ssim, bicubic_psnr=bicubic_psnr, bicubic_ssim=bicubic_ssim))

    def means(self) -> dict[str, float]:
        """Mean of every figure over the frames."""
        return {key: float(np.mean([row[key] for row in self.rows])) for key in list(self.rows[0])[1:]}

    def in_words(self) -> str:
        """The protocol as one line; a video is a little worse than these figures, since encoding comes after them."""
        return self.protocol.in_words("before encoding, mean over frames")

    def to_csv(self) -> str:
        """The rows, after a comment line that states the protocol."""
        text = io.StringIO()
        text.write(f"# {self.in_words()}\n")
        writer = csv.DictWriter(text, self.rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: v if k == "frame" else f"{v:.6f}" for k, v in row.items()} for row in self.rows)
        return text.getvalue()
