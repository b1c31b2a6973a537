"""What resolution frames hold."""

import numpy as np
import pytest

from vsr_plugin.data.degraded_clip import read_frames
from vsr_plugin.data.footage.codecs import through_codec
from vsr_plugin.ops.resize import bicubic_resize
from vsr_plugin.restoration.footage import held_factor


@pytest.mark.parametrize(
    ("clip", "crf"), [("bikes", None), ("bigbuckbunny", None), ("carphone_pristine", None), ("carphone_pristine", 26)]
)
def test_enlarged_frames_are_told(clip, crf):
    native = next(read_frames(clip, start=5, num_frames=1))
    for factor in (1, 2, 3):
        frames = bicubic_resize(bicubic_resize(native, 1 / factor), native.shape[:2])[None]
        if crf is not None:
            frames = through_codec(frames, "h264", quality=crf)
        assert held_factor(list(frames)) == factor


def test_nothing_to_tell():
    assert held_factor([]) == 1
    assert held_factor([np.zeros((64, 64, 3), np.uint8)]) == 1
    assert held_factor([np.zeros((16, 16, 3), np.uint8)]) == 1
