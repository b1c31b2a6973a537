"""VMAF through an FFmpeg that has it, such as the one in the package imageio-ffmpeg."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from vsr_plugin.errors import VSRError

DEFINITION = "VMAF: FFmpeg's libvmaf with its model for 1080p, mean over the frames of a clip; 100 is best"
#: How frames are handed over: nothing is lost before FFmpeg itself makes Y, Cb and Cr of them.
_RAW = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-r", "25")


@functools.cache
def _ffmpeg() -> str:
    candidates = [shutil.which("ffmpeg")]
    try:
        import imageio_ffmpeg

        candidates.insert(0, imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        pass
    for ffmpeg in filter(None, candidates):
        filters = subprocess.run([ffmpeg, "-hide_banner", "-filters"], capture_output=True, text=True, check=False)
        if " libvmaf " in filters.stdout:
            return ffmpeg
    raise VSRError(
        "VMAF needs an FFmpeg with libvmaf; run: pip install imageio-ffmpeg, or leave vmaf out of the metrics"
    )


def check_vmaf() -> None:
    """Find out before long work whether VMAF can be computed.

    Raises:
        VSRError: there is no FFmpeg that can; the text says what to do.
    """
    _ffmpeg()


def clip_vmaf(restored: Sequence[np.ndarray], gt: Sequence[np.ndarray]) -> float:
    """VMAF (Netflix) of a clip against its ground truth.

    Args:
        restored: RGB frames ``(h, w, 3)`` of ``uint8``.
        gt: the same.

    Returns:
        From 0 to 100; mean over the frames.

    Raises:
        VSRError: see :func:`check_vmaf`; or FFmpeg fails.
    """
    size = f"{gt[0].shape[1]}x{gt[0].shape[0]}"
    with tempfile.TemporaryDirectory(prefix="vsr_plugin-") as folder:
        for name, frames in (("restored", restored), ("gt", gt)):
            _write_raw(Path(folder, name), frames)
        as_yuv = "[0:v]format=yuv444p[restored];[1:v]format=yuv444p[gt]"
        command = [_ffmpeg(), "-v", "error", *_RAW, "-s", size, "-i", "restored", *_RAW, "-s", size, "-i", "gt"]
        command += ["-lavfi", f"{as_yuv};[restored][gt]libvmaf=log_fmt=json:log_path=log", "-f", "null", "-"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        log = Path(folder, "log")
        if done.returncode or not log.exists():
            reason = done.stderr.strip().splitlines()[-1:] or ["no result"]
            raise VSRError(f"VMAF: {command[0]} fails on frames of {size} ({reason[0]}); leave vmaf out of the metrics")
        return float(json.loads(log.read_text())["pooled_metrics"]["vmaf"]["mean"])


def _write_raw(path: Path, frames: Iterable[np.ndarray]) -> None:
    with path.open("wb") as file:
        for frame in frames:
            file.write(np.ascontiguousarray(frame).data)
