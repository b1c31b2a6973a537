"""VMAF through FFmpeg: what is asked of it, and what is said where it cannot be had."""

import os
import sys

import numpy as np
import pytest

from vsr_plugin.data.degraded_clip import read_frames
from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation import extra_metrics

#: Stands for FFmpeg: compares the two raw files, and answers as libvmaf does.
STAND_IN = """#!{python}
import json, sys
if "-filters" in sys.argv:
    print(" .. libvmaf           VV->V      Calculate the VMAF between two video streams.")
    sys.exit()
size = sys.argv[sys.argv.index("-s") + 1]
restored, gt = (open(name, "rb").read() for name in ("restored", "gt"))
if size == "8x8":
    sys.exit("frames are too small")
mean = sum(abs(a - b) for a, b in zip(restored, gt)) / len(gt)
json.dump(dict(pooled_metrics=dict(vmaf=dict(mean=100 - mean))), open("log", "w"))
"""


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """A folder at the front of the path, empty at first, and no package that brings an FFmpeg."""
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    extra_metrics._ffmpeg.cache_clear()
    yield tmp_path / "ffmpeg"
    extra_metrics._ffmpeg.cache_clear()


def write(path, text):
    path.write_text(text)
    os.chmod(path, 0o755)


def test_frames_and_result(ffmpeg):
    write(ffmpeg, STAND_IN.format(python=sys.executable))
    gt = np.full((2, 16, 24, 3), 100, np.uint8)
    assert extra_metrics.clip_vmaf(gt + 7, gt) == 93
    with pytest.raises(VSRError, match=r"fails on frames of 8x8 \(frames are too small\); leave vmaf out"):
        extra_metrics.clip_vmaf(gt[:, :8, :8], gt[:, :8, :8])


@pytest.mark.parametrize("text", [None, "#!/bin/sh\necho ' .. scale V->V'\n"])
def test_no_ffmpeg_has_it(ffmpeg, text):
    if text is not None:
        write(ffmpeg, text)
    with pytest.raises(VSRError, match="pip install imageio-ffmpeg"):
        extra_metrics.check_vmaf()


def test_real_ffmpeg():
    pytest.importorskip("imageio_ffmpeg")
    extra_metrics._ffmpeg.cache_clear()
    gt = np.stack([frame[:128, :192] for frame in read_frames("bikes", start=30, num_frames=3)])
    worse = gt // 24 * 24
    assert extra_metrics.clip_vmaf(gt, gt) > 95
    assert extra_metrics.clip_vmaf(worse, gt) < extra_metrics.clip_vmaf(gt, gt) - 5
