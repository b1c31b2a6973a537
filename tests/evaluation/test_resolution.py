"""What resolution frames hold."""

import numpy as np
import pytest

from vsr_plugin.data.degraded_clip import read_frames
from vsr_plugin.data.footage.codecs import through_codec
from vsr_plugin.evaluation.resolution import held_factor
from vsr_plugin.ops.resize import bicubic_resize


@pytest.mark.parametrize("clip", ["bikes", "bigbuckbunny", "carphone_pristine"])
@pytest.mark.parametrize("crf", [None, 28])
def test_enlarged_frames_are_told(clip, crf):
    native = [frame[-144:, :176] for frame in read_frames(clip, start=20, num_frames=2)]
    for factor in (1, 2, 3):
        frames = np.stack([bicubic_resize(bicubic_resize(f, 1 / factor), (144, 176)) for f in native])
        if crf is not None:
            frames = through_codec(frames, "h264", quality=crf)
        found = held_factor(list(frames))
        assert found == factor or (factor == 3 and found == 2)


def test_nothing_to_tell():
    assert held_factor([]) == 1
    assert held_factor([np.zeros((64, 64, 3), np.uint8)]) == 1
    assert held_factor([np.zeros((16, 16, 3), np.uint8)]) == 1
