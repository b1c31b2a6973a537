"""How coarsely a video was quantised, which its decoder tells (FFmpeg's side data ``VIDEO_ENC_PARAMS``)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np

from vsr_plugin.errors import MediaError
from vsr_plugin.media.video_file import open_input

#: What a decoder is to be opened with, for its frames to tell.
TELLING = {"export_side_data": "venc_params"}

#: Begin of FFmpeg's ``AVVideoEncParams``: number of blocks, where they begin, bytes of one, kind, quantiser of all;
#: and where in a block its difference from that stands.
_HEAD, _DELTA = "@INNii", 16
_H264, _MPEG = 1, 2
#: Places of a video that are looked at, and frames at each.
_PLACES, _FRAMES = 6, 8


def block_steps(frame: av.VideoFrame) -> np.ndarray:
    """The quantiser's steps of a frame's blocks, those that hold anything, in 255ths of the range of brightness.

    H.264: ``2 ** ((QP - 4) / 6)``, QP as of 8 bits a sample; MPEG-1, 2 and 4: the quantiser's scale. Empty of other
    codecs, whose decoders do not tell or count otherwise.
    """
    for data in frame.side_data:
        if data.type.name != "VIDEO_ENC_PARAMS":
            continue
        raw = bytes(data)
        count, begin, size, kind, quantiser = struct.unpack_from(_HEAD, raw)
        if count and kind in (_H264, _MPEG):
            values = quantiser + np.ndarray(count, np.int32, raw, begin + _DELTA, size)
            values = values[values > 0]  # skipped blocks of H.264 have 0
            return 2.0 ** ((values - 4) / 6 - (frame.format.components[0].bits - 8)) if kind == _H264 else values * 1.0
    return np.empty(0)


def usual_step(frames: Iterable[av.VideoFrame]) -> float | None:
    """Median step of the blocks of some frames; ``None`` where none is known."""
    steps = np.concatenate([np.empty(0), *map(block_steps, frames)])
    return float(np.median(steps)) if len(steps) else None


def step_of_video(path: Path, index: int) -> float | None:
    """Median step of a video, from a few frames of places all over it.

    Args:
        path: of the file.
        index: of the stream in it.

    Returns:
        See :func:`usual_step`; ``None`` also where nothing can be decoded.
    """
    try:
        with open_input(path) as container:
            stream = container.streams[index]
            stream.codec_context.options = dict(TELLING)
            return usual_step(_here_and_there(container, stream))
    except (av.FFmpegError, MediaError):
        return None


def _here_and_there(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    yield from islice(container.decode(stream), _FRAMES)
    for place in range(1, _PLACES if stream.duration else 1):
        try:
            container.seek((stream.start_time or 0) + stream.duration * place // _PLACES, stream=stream)
            yield from islice(container.decode(stream), _FRAMES)
        except av.FFmpegError:  # cut off, or damaged there
            return
