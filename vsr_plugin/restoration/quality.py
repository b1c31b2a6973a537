"""Quality of restored frames against ground truth: what fits, figures of every frame beside bicubic's, means, CSV."""

import csv
import io
from dataclasses import dataclass, field

import numpy as np

from vsr_plugin.errors import MediaError
from vsr_plugin.evaluation import Protocol, frame_quality
from vsr_plugin.media import FrameSource
from vsr_plugin.ops.resize import bicubic_resize
from vsr_plugin.restoration.options import RestoreOptions


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


def check_ground_truth(gt: FrameSource, source: FrameSource, size: tuple[int, int], options: RestoreOptions) -> None:
    """Find out before the work whether there is ground truth for all that will be restored, and whether it fits.

    Args:
        gt: the ground truth.
        source: the input.
        size: rows and columns of the output.
        options: what is restored of the input, and how it is compared.

    Raises:
        MediaError: the ground truth has another size, or is known to end too early.
        VSRError: the frames are too small to be compared.
    """
    if (gt.height, gt.width) != size:
        raise MediaError(
            f"{gt.path}: ground truth of {gt.width}x{gt.height} does not fit: the input is "
            f"{source.width}x{source.height}, so it must be {size[1]}x{size[0]}, the size of the output, which --scale "
            "and --height set"
        )
    options.protocol.check_size(*size)
    stop, available = source.num_frames_exact, gt.num_frames_exact
    if stop is None or available is None:
        return
    if options.num_frames is not None:
        stop = min(stop, options.start + options.num_frames)
    if available < stop:
        raise ends_before(gt.path, available)


def surplus_note(gt: FrameSource, source: FrameSource, options: RestoreOptions) -> str | None:
    """What to tell of ground truth that is known to go on behind the input's end: it may belong to another rate."""
    length, available = source.num_frames_exact, gt.num_frames_exact
    if options.num_frames is not None or length is None or available is None or available <= length:
        return None
    return (
        f"ground truth {gt.path} has {available} frames, the input {length}: frame by frame from the first, the rest "
        "was not compared"
    )


def ends_before(path: object, index: int) -> MediaError:
    return MediaError(
        f"{path}: ground truth ends before frame {index}; it must have as many frames as the input, or fewer are "
        "restored with --num-frames"
    )
