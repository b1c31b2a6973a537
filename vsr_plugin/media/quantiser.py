"""How coarsely a video was quantised: what its decoder tells, or what its pictures' headers say."""

from __future__ import annotations

import io
import re
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np

from vsr_plugin.errors import MediaError
from vsr_plugin.media.video_file import open_input

#: What a decoder is to be opened with, for its frames to tell.
TELLING = {"export_side_data": "venc_params"}
#: Codecs whose decoders do not, and whose headers are read instead.
IN_HEADERS = frozenset({"hevc", "av1", "mjpeg"})

#: Begin of FFmpeg's ``AVVideoEncParams``: number of blocks, where they begin, bytes of one, kind, quantiser of all;
#: and where in a block its difference from that stands.
_HEAD, _DELTA = "@INNii", 16
_VP9, _H264, _MPEG = 0, 1, 2
#: The quantiser's step by its index in VP9 and AV1 (their table of AC coefficients), in eighths: straight lines between
#: these.
_INDICES = (0, 1, 95, 120, 137, 150, 170, 190, 210, 230, 255)
_EIGHTHS = (4, 8, 102, 152, 203, 255, 366, 530, 757, 1151, 1828)
#: Places of a video that are looked at, and frames at each.
_PLACES, _FRAMES = 6, 8
#: A line of FFmpeg's ``trace_headers``: bits from the beginning, name, bits, value.
_TRACED = re.compile(
    r"\d+ +((?:pps|slice)_pic_parameter_set_id|init_qp_minus26|slice_qp_delta|base_q_idx) +[01]+ = (-?\d+)"
)
#: Markers of JPEG (ITU-T T.81, table B.1): begin of an image, tables of quantisers, begin of what is coded.
_SOI, _DQT, _SOS = 0xD8, 0xDB, 0xDA
#: A table of JPEG grows towards high frequencies, by how much is the encoder's choice. So much of its geometric mean
#: served best for tables of FFmpeg (there 1.25 times the scale of MPEG) and libjpeg, on two videos at five qualities.
_OF_TABLE = 2 / 3
#: How much FFmpeg logs is a setting of the whole process.
_LOGGING = threading.Lock()


def block_steps(frame: av.VideoFrame) -> np.ndarray:
    """The quantiser's steps of a frame's blocks, those that hold anything, in 255ths of the range of brightness.

    H.264: ``2 ** ((QP - 4) / 6)``, QP as of 8 bits a sample; MPEG-1, 2 and 4: the quantiser's scale; VP9: an eighth of
    what its table has. Empty of other codecs, whose decoders do not tell or count otherwise.
    """
    for data in frame.side_data:
        if data.type.name != "VIDEO_ENC_PARAMS":
            continue
        raw = bytes(data)
        count, begin, size, kind, quantiser = struct.unpack_from(_HEAD, raw)
        # Of VP9 there are blocks only where they differ; skipped blocks of H.264 have 0.
        deltas = np.ndarray(count, np.int32, raw, begin + _DELTA, size) if count else np.zeros(1, np.int32)
        values = quantiser + deltas
        values = values[values > 0]
        if kind == _H264:
            return _step_of_qp(values - 6 * (frame.format.components[0].bits - 8))
        if kind == _VP9:
            return _step_of_index(values)
        if kind == _MPEG:
            return values * 1.0
    return np.empty(0)


def header_steps(packets: Iterable[av.Packet], stream: av.VideoStream) -> np.ndarray:
    """The quantiser's steps that the headers of pictures begin with, in 255ths of the range of brightness.

    Args:
        packets: of ``stream``, from where decoding can begin.
        stream: of HEVC or AV1, from whose headers encoders depart by a few steps within a picture, or of MJPEG.
    """
    packets = [packet for packet in packets if packet.size]
    if stream.codec_context.codec.canonical_name == "mjpeg":
        tables = [table for packet in packets for table in _luminance_tables(bytes(packet))]
        return np.array([_OF_TABLE * np.exp(np.log(table.astype(float)).mean()) for table in tables])
    with _LOGGING, av.logging.Capture(local=True) as lines:
        level = av.logging.get_level()
        av.logging.set_level(av.logging.INFO)
        try:
            headers = av.BitStreamFilterContext("trace_headers", stream)  # reads what stands before all packets
            for packet in packets:
                headers.filter(packet)
        finally:
            av.logging.set_level(level)
    return np.array(list(_traced_steps(line for _, _, line in lines)))


def _traced_steps(lines: Iterable[str]) -> Iterator[float]:
    """The steps that lines of ``trace_headers`` tell, picture by picture or slice by slice."""
    parameter_set, initial_qp = 0, {}
    for found in filter(None, map(_TRACED.match, lines)):
        name, value = found[1], int(found[2])
        if name.endswith("set_id"):
            parameter_set = value
        elif name == "init_qp_minus26":
            initial_qp[parameter_set] = 26 + value
        elif name == "slice_qp_delta":
            yield _step_of_qp(initial_qp.get(parameter_set, 26) + value)
        else:
            yield _step_of_index(value)


def _luminance_tables(image: bytes) -> Iterator[np.ndarray]:
    """The 64 quantisers that a JPEG image has for brightness; none of what is no image, or is cut off before them."""
    at = 2
    while image[:2] == bytes((0xFF, _SOI)) and len(image) >= at + 4 and image[at] == 0xFF and image[at + 1] != _SOS:
        end = at + 2 + int.from_bytes(image[at + 2 : at + 4], "big")
        begin = at + 4
        while image[at + 1] == _DQT and begin < min(end, len(image)):
            two_bytes, number = divmod(image[begin], 16)
            table = np.frombuffer(image[begin + 1 : begin + 65 + 64 * bool(two_bytes)], ">u2" if two_bytes else "u1")
            if number == 0 and len(table) == 64 and table.all():
                yield table
            begin += 65 + 64 * bool(two_bytes)
        at = end


def step_of_headers(packets: Iterable[av.Packet], encoder: str) -> float | None:
    """Median of :func:`header_steps` for packets that an encoder of this name gave."""
    with av.open(io.BytesIO(), "w", format="null") as nowhere:
        return _median(header_steps(packets, nowhere.add_stream(encoder)))


def _step_of_qp(qp: float | np.ndarray) -> float | np.ndarray:
    return 2.0 ** ((qp - 4) / 6)


def _step_of_index(index: float | np.ndarray) -> float | np.ndarray:
    return np.interp(index, _INDICES, _EIGHTHS) / 8


def usual_step(frames: Iterable[av.VideoFrame]) -> float | None:
    """Median step of the blocks of some frames; ``None`` where none is known."""
    return _median(np.concatenate([np.empty(0), *map(block_steps, frames)]))


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
            if stream.codec_context is None:  # no decoder for it
                return None
            if stream.codec_context.codec.canonical_name in IN_HEADERS:
                return _median(header_steps(_here_and_there(container, stream, container.demux), stream))
            stream.codec_context.options = dict(TELLING)
            return usual_step(_here_and_there(container, stream, container.decode))
    except (av.FFmpegError, MediaError):
        return None


def _median(steps: np.ndarray) -> float | None:
    # Last bits of powers and logarithms depend on the processor; what a job is taken up by must not.
    return round(float(np.median(steps)), 6) if len(steps) else None


def _here_and_there(
    container: av.container.InputContainer, stream: av.VideoStream, read: Callable[[av.VideoStream], Iterator]
) -> Iterator:
    """What ``read`` gives, frames or packets, at some places of a video."""
    yield from islice(read(stream), _FRAMES)
    for place in range(1, _PLACES if stream.duration else 1):
        try:
            container.seek((stream.start_time or 0) + stream.duration * place // _PLACES, stream=stream)
            yield from islice(read(stream), _FRAMES)
        except av.FFmpegError:  # cut off, or damaged there
            return
