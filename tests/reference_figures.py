"""The reference figures of the official weights on real clips, and the frames that they were taken on."""

from pathlib import Path

import av
import numpy as np

#: Clip: height and width of the ground truth from the top left; Y-PSNR in dB of bicubic enlargement, and of
#: basicvsr_reds4 and basicvsr_vimeo90k_bi measured with MMagic's net; BI, frames 30 to 40.
REFERENCE = {
    "carphone_pristine": (144, 176, 25.58, 30.80, 31.39),
    "bikes": (272, 640, 36.13, 42.92, 43.25),
    "bigbuckbunny": (288, 512, 32.16, 37.65, 37.61),
}


def reference_frames(path: Path, clip: str) -> list[np.ndarray]:
    """Ground truth of a clip as swscale converts it by default, which is not how ``open_source`` does."""
    height, width = REFERENCE[clip][:2]
    with av.open(str(path)) as container:
        pictures = [picture for picture, _ in zip(container.decode(video=0), range(41), strict=False)]
        return [np.ascontiguousarray(p.to_ndarray(format="rgb24")[:height, :width]) for p in pictures[30:]]
