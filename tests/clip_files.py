"""Tiny clips made on the spot, a stand-in for the network, and what PyAV says of a file."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
from av.codec.context import Flags

from vsr_plugin.media import open_sink, open_source


def make_clip(
    path,
    *,
    n=10,
    size=(32, 48),
    unit=Fraction(1, 12800),
    times=None,
    rate=Fraction(25),
    codec="libx264",
    pix_fmt="yuv420p",
    pictures=None,
    tags=None,
    audio=None,
    setup=None,
    options=None,
    format=None,
    container_options=None,
):
    """Write a clip; ``times`` is a list of (pts, duration), ``pictures`` one of VideoFrames or RGB."""
    step = round(1 / (rate * unit))
    times = times or [(i * step, step) for i in range(n)]
    height, width = size
    container_options = dict(container_options or {})
    if Path(path).suffix in (".mp4", ".mov"):
        container_options["video_track_timescale"] = str(unit.denominator)
    with av.open(str(path), "w", format=format, container_options=container_options) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {"crf": "10", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = width, height, pix_fmt, unit
        context = stream.codec_context
        context.time_base, context.max_b_frames = unit, 0
        context.flags |= Flags.frame_duration
        for name, value in (tags or {}).items():
            setattr(context, name, value)
        if setup:
            setup(container, stream)
        sound = None
        if audio:
            sound = container.add_stream(audio, rate=48000)
            sound.layout = "mono"
            if audio.startswith("wma"):
                sound.bit_rate = 64000
        for i, (pts, duration) in enumerate(times):
            if pictures is not None:
                picture = pictures[i]
            else:
                ramp = np.add.outer(np.arange(height) * 3, np.arange(width) * 2) + i * 5
                picture = np.repeat((ramp % 200 + 20).astype(np.uint8)[..., None], 3, axis=2)
            if isinstance(picture, np.ndarray):
                picture = av.VideoFrame.from_ndarray(picture, format="rgb24")
            picture.pts, picture.time_base, picture.duration = pts, unit, duration
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if sound is not None:
            end = times[-1][0] + times[-1][1]
            wave = np.sin(np.arange(int(end * unit * 48000)) / 20).astype(np.float32)[None]
            block = sound.codec_context.frame_size or 1024
            for start in range(0, wave.shape[1], 1024 if block < 1024 else block):
                part = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(wave[:, start : start + max(block, 1024)]),
                    format="fltp",
                    layout="mono",
                )
                part.sample_rate, part.pts, part.time_base = 48000, start, Fraction(1, 48000)
                container.mux(sound.encode(part))
            container.mux(sound.encode(None))
    return path


def write_frames(path, frames, codec, pix_fmt="yuv420p", quantiser=None, **options):
    """Encode RGB frames ``(h, w, 3)`` at 25 a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if quantiser:
            stream.codec_context.qmin = stream.codec_context.qmax = quantiser
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def enlarge(array, scale):
    """Return nearest-neighbour enlargement of ``(h, w, ...)``."""
    return array.repeat(scale, 0).repeat(scale, 1)


def copy(source_path, sink_path, *, scale=4, start=0, num_frames=None, assume_matrix=None, **options):
    """Read, enlarge, write; return the source and the sink for their notes."""
    with open_source(source_path, assume_matrix=assume_matrix) as source:
        sink = open_sink(sink_path, source, scale=scale, start=start, num_frames=num_frames, **options)
        with sink:
            for frame in source.frames(start, num_frames):
                alpha = None if frame.alpha is None else enlarge(frame.alpha, scale)
                sink.write(replace(frame, rgb=enlarge(frame.rgb, scale), alpha=alpha))
    return source, sink


def probe(path):
    """Return what PyAV itself says of a file's first video stream."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        pictures = list(container.decode(stream))
        return SimpleNamespace(
            time_base=stream.time_base,
            rate=stream.average_rate,
            duration=stream.duration,
            aspect=stream.sample_aspect_ratio,
            pix_fmt=stream.pix_fmt,
            size=(stream.height, stream.width),
            colour=(stream.colorspace, stream.color_range, stream.color_primaries, stream.color_trc),
            pts=[p.pts for p in pictures],
            rotation=pictures[0].rotation,
            metadata=dict(container.metadata),
        )


def packets(path):
    """Return (payload, pts, dts) of every audio packet."""
    with av.open(str(path)) as container:
        return [(bytes(p), p.pts, p.dts) for p in container.demux(container.streams.audio[0]) if p.size]
