"""Videos that are well formed and odd: timestamps, gaps, jumps and sound in any combination that a container takes."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from hypothesis import strategies as st

RATE = 25
#: Containers, and codecs of picture and sound that they hold.
CONTAINERS = {
    ".mp4": (("libx264", "mpeg4"), ("aac", "mp3", "ac3")),
    ".mov": (("libx264", "mpeg4", "mjpeg"), ("aac", "pcm_s16le")),
    ".mkv": (("libx264", "mpeg4", "ffv1", "mjpeg"), ("aac", "mp3", "ac3", "pcm_s16le", "flac", "libopus")),
    ".ts": (("libx264", "mpeg2video"), ("aac", "mp2", "ac3")),
    ".mpg": (("mpeg2video",), ("mp2",)),
    ".avi": (("libx264", "mpeg4", "mjpeg", "ffv1"), ("mp3", "pcm_s16le", "ac3")),
    ".asf": (("libx264", "mpeg4", "wmv2"), ("mp3",)),
    ".webm": (("libvpx-vp9",), ("libopus",)),
    ".flv": (("libx264",), ("aac", "mp3")),
}
TARGETS = (".mp4", ".mkv", ".avi", ".mov", "")


@dataclass(frozen=True)
class Edit:
    """What is done to one packet and those behind it.

    Attributes:
        kind: ``'video'`` or ``'audio'``.
        number: Of the packet among those of its kind.
        action: ``'drop'``; ``'shift'`` moves it and all behind it, ``'nudge'`` it alone; ``'untimed'`` takes away when
            it is presented.
        ticks: By so much, in thousandths of a second.
    """

    kind: str
    number: int
    action: str
    ticks: int


@dataclass(frozen=True)
class Structure:
    """How an input is put together, and what is made of it.

    Attributes:
        suffix: Of the input.
        video: Its codec.
        audio: That of its sound, if it has some.
        b_frames: How many there may be.
        frames: How many there are.
        start: Where its clock starts, in thousandths of a second.
        audio_start: How much later the sound starts.
        edits: What is done to its packets.
        parts: Further starts of the same, joined byte by byte.
        cut: So many thousandths of the file are there.
        target: Suffix of the output, empty for a folder.
        first: First frame that is asked for.
        count: How many are asked for.
    """

    suffix: str
    video: str
    audio: str | None
    b_frames: int
    frames: int
    start: int
    audio_start: int
    edits: tuple[Edit, ...]
    parts: tuple[int, ...]
    cut: int
    target: str
    first: int
    count: int | None


_EDITS = st.builds(
    Edit,
    kind=st.sampled_from(("video", "audio")),
    number=st.integers(0, 30),
    action=st.sampled_from(("drop", "shift", "nudge", "untimed")),
    ticks=st.sampled_from((-90_000_000, -12_000, -300, -40, -1, 1, 20, 500, 11_000, 4_000_000))
    | st.integers(-5000, 5000),
)


@st.composite
def structures(draw: st.DrawFn) -> Structure:
    """Any structure; simple ones first."""
    suffix = draw(st.sampled_from(tuple(CONTAINERS)))
    videos, audios = CONTAINERS[suffix]
    joined = suffix in (".ts", ".mpg")
    starts = st.sampled_from((0, 1, 40, 53_126_000, 95_441_500)) | st.integers(0, 100_000)
    return Structure(
        suffix=suffix,
        video=draw(st.sampled_from(videos)),
        audio=draw(st.none() | st.sampled_from(audios)),
        b_frames=draw(st.sampled_from((0, 2))),
        frames=draw(st.integers(1, 24)),
        start=draw(st.sampled_from((0, -500, -2000)) | starts),
        audio_start=draw(st.just(0) | st.integers(-1500, 1500)),
        edits=tuple(draw(st.lists(_EDITS, max_size=3))),
        parts=tuple(draw(st.lists(starts, max_size=2))) if joined else (),
        cut=draw(st.just(1000) | st.integers(100, 1000)),
        target=draw(st.sampled_from(TARGETS)),
        first=draw(st.just(0) | st.integers(0, 30)),
        count=draw(st.none() | st.integers(1, 30)),
    )


@cache
def _plain(suffix: str, video: str, audio: str | None, b_frames: int) -> bytes:
    """A second of picture and sound in a file, in memory."""
    buffer = io.BytesIO()
    rng = np.random.default_rng(0)
    with av.open(buffer, "w", format="matroska" if suffix not in (".avi", ".asf") else "nut") as output:
        stream = output.add_stream(video, rate=RATE, options={"crf": "30", "preset": "ultrafast", "cpu-used": "8"})
        stream.width, stream.height = 48, 32
        stream.pix_fmt = {"mjpeg": "yuvj420p"}.get(video, "yuv420p")
        stream.codec_context.max_b_frames = b_frames if video not in ("mjpeg", "ffv1", "wmv2", "libvpx-vp9") else 0
        stream.codec_context.gop_size = 8
        sound = None
        if audio is not None:
            sound = output.add_stream(audio, rate=48000)
            sound.layout = "mono"
        base = rng.integers(0, 256, (32, 100, 3), np.uint8)
        for i in range(RATE):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(base[:, 2 * i : 2 * i + 48]), format="rgb24")
            picture.pts, picture.time_base = i, Fraction(1, RATE)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
        if sound is not None:
            block = sound.codec_context.frame_size or 1024
            wave = np.sin(np.arange(48000) / 20).astype(np.float32)[None]
            for begin in range(0, 48000 - block, block):
                part = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(wave[:, begin : begin + block]), format="fltp", layout="mono"
                )
                part.sample_rate, part.pts, part.time_base = 48000, begin, Fraction(1, 48000)
                output.mux(sound.encode(part))
            output.mux(sound.encode(None))
    return buffer.getvalue()


def make(structure: Structure, path: Path) -> None:
    """Write the input of a structure; what its container does not take is left out."""
    parts = []
    for start in (structure.start, *structure.parts):
        _write(structure, start, path)
        parts.append(path.read_bytes())
    data = b"".join(parts)
    path.write_bytes(data[: max(1, len(data) * structure.cut // 1000)])


def _write(structure: Structure, start: int, path: Path) -> None:
    plain = _plain(structure.suffix, structure.video, structure.audio, structure.b_frames)
    with av.open(io.BytesIO(plain)) as given:
        output = av.open(str(path), "w", container_options={"avoid_negative_ts": "disabled"})
        copies = {stream.index: output.add_stream_from_template(stream) for stream in given.streams}
        counts, moved = {"video": 0, "audio": 0}, {"video": 0, "audio": structure.audio_start}
        for packet in given.demux():
            kind = packet.stream.type
            if not packet.size or (kind == "video" and counts[kind] >= structure.frames):
                continue
            number, alone, dropped, untimed = counts[kind], 0, False, False
            counts[kind] += 1
            for edit in structure.edits:
                if (edit.kind, edit.number) == (kind, number):
                    dropped |= edit.action == "drop"
                    untimed |= edit.action == "untimed"
                    moved[kind] += edit.ticks if edit.action == "shift" else 0
                    alone += edit.ticks if edit.action == "nudge" else 0
            if dropped:
                continue
            shift = round(Fraction(start + moved[kind] + alone, 1000) / packet.time_base)
            packet.pts = None if packet.pts is None or untimed else packet.pts + shift
            packet.dts = None if packet.dts is None else packet.dts + shift
            packet.stream = copies[packet.stream.index]
            try:
                output.mux_one(packet)
            except (FFmpegError, ValueError):
                continue
        try:
            output.close()
        except (FFmpegError, ValueError):
            return
