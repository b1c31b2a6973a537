"""What video codecs do: a clip is encoded and decoded in memory, by FFmpeg's encoders through PyAV."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np

from vsr_plugin.data.footage.step import Clip, TellingStep
from vsr_plugin.errors import MediaError
from vsr_plugin.media.colour import MATRIX_BT601, Colour, FromRGB, ToRGB
from vsr_plugin.media.quantiser import IN_HEADERS, TELLING, step_of_headers, usual_step


@dataclass(frozen=True)
class Coding:
    """How one encoder is used.

    Attributes:
        encoder: FFmpeg's name.
        decoder: FFmpeg's name.
        by_quality: options that ask for a quality ``{q}``; lower is better.
        options: the others.
        pix_fmt: what it takes.
        has_gop: whether frames depend on others.
        smallest: sides below which frames are extended for it.
    """

    encoder: str
    decoder: str
    by_quality: Mapping[str, str]
    options: Mapping[str, str] = ()
    pix_fmt: str = "yuv420p"
    has_gop: bool = True
    smallest: int = 0


_BY_QUANTISER = {"qmin": "{q}", "qmax": "{q}"}

#: Encoders by the name of what they write. Quality is CRF for the first three (0 to 51, VP9: 63), otherwise the
#: quantiser of the MPEG family (1 to 31); cinepak has none.
CODINGS = {
    # With B-frames and its tree of macroblocks, libx264 gives other bytes from run to run, even with one thread.
    "h264": Coding("libx264", "h264", {"crf": "{q}"}, {"x264-params": "mbtree=0"}),
    # Within one of its blocks of 64x64, libx265 writes beyond its memory (at 48x48, say), or refuses (below 32).
    "hevc": Coding(
        "libx265",
        "hevc",
        {"crf": "{q}"},
        {"preset": "ultrafast", "x265-params": "log-level=none:pools=1"},
        smallest=64,
    ),
    "vp9": Coding("libvpx-vp9", "vp9", {"crf": "{q}", "b": "0"}, {"deadline": "realtime", "cpu-used": "6"}),
    "mpeg2": Coding("mpeg2video", "mpeg2video", _BY_QUANTISER),
    "mpeg4": Coding("mpeg4", "mpeg4", _BY_QUANTISER),
    "mjpeg": Coding("mjpeg", "mjpeg", _BY_QUANTISER, pix_fmt="yuvj420p", has_gop=False),
    "cinepak": Coding("cinepak", "cinepak", {}, {"max_strips": "2"}, pix_fmt="rgb24"),
}


def through_codec(frames: np.ndarray, codec: str, **asked: Any) -> np.ndarray:
    """The frames that :func:`encode_and_decode` gives."""
    return encode_and_decode(frames, codec, **asked).frames


def encode_and_decode(
    frames: np.ndarray,
    codec: str,
    *,
    quality: int | None = None,
    bit_rate: float | None = None,
    gop: int = 250,
    options: Mapping[str, str] | None = None,
    frame_rate: int = 25,
) -> Clip:
    """Encode a clip and decode it again.

    Args:
        frames: RGB, ``(t, h, w, 3)`` of ``uint8``; sides that are odd are extended for the encoder, and cut again.
        codec: one of :data:`CODINGS`.
        quality: CRF or quantiser, see there.
        bit_rate: in place of it, bits per pixel.
        gop: frames from one that depends on no other to the next.
        options: further options of the encoder, such as ``dict(preset='medium', bf='3')``.
        frame_rate: of which the encoder thinks.

    Returns:
        Frames of the same shape and dtype, and how coarsely they were quantised.

    Raises:
        MediaError: this FFmpeg lacks the encoder, or it fails.
        ValueError: there is no such codec.
    """
    if codec not in CODINGS:
        raise ValueError(f"`codec` must be one of {', '.join(CODINGS)}, got {codec!r}")
    coding = CODINGS[codec]
    h, w = frames.shape[1:3]
    multiple = 4 if codec == "cinepak" else 2
    missing = [max(side + -side % multiple, coding.smallest) - side for side in (h, w)]
    padded = np.pad(frames, ((0, 0), *((0, n) for n in missing), (0, 0)), mode="edge") if any(missing) else frames
    try:
        encoder = av.CodecContext.create(coding.encoder, "w")
    except (av.codec.codec.UnknownCodecError, ValueError) as error:
        raise MediaError(
            f"codec {codec}: the installed PyAV has no encoder {coding.encoder}; install PyAV's own wheel "
            "(pip install av) or leave this codec out"
        ) from error
    encoder.height, encoder.width = padded.shape[1:3]
    encoder.pix_fmt = coding.pix_fmt
    encoder.time_base, encoder.framerate = Fraction(1, frame_rate), Fraction(frame_rate)
    encoder.thread_count = 1
    if coding.has_gop:
        encoder.gop_size = gop
    if bit_rate is None:
        asked = {key: value.format(q=quality) for key, value in coding.by_quality.items()}
    else:
        # x264 counts in kilobits, and takes none for a mistake.
        rate = max(1000, int(bit_rate * frame_rate * padded.shape[1] * padded.shape[2]))
        encoder.bit_rate = rate
        # A clip is short: with a buffer of seconds MPEG's encoders would make up for its beginning after its end.
        asked = {"maxrate": str(rate), "bufsize": str(max(1000, rate // 4))} if "qmin" in coding.by_quality else {}
    encoder.options = {**dict(coding.options), **asked, **dict(options or {})}
    try:
        decoded, step = _decode(coding, _encode(encoder, padded, coding), encoder)
    except av.FFmpegError as error:
        raise MediaError(f"codec {codec}: {coding.encoder} fails at {w}x{h} ({error})") from error
    if len(decoded) != len(frames):
        raise MediaError(f"codec {codec}: {len(decoded)} of {len(frames)} frames came back from {coding.encoder}")
    return Clip(np.stack(decoded)[:, :h, :w], step, step)


def _colour(coding: Coding) -> Colour:
    return Colour(MATRIX_BT601, full_range=coding.pix_fmt.startswith("yuvj"))


def _encode(encoder: av.CodecContext, frames: np.ndarray, coding: Coding) -> list[av.Packet]:
    from_rgb = FromRGB(_colour(coding), coding.pix_fmt)
    packets = []
    for i, rgb in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24") if coding.pix_fmt == "rgb24" else from_rgb(rgb)
        frame.pts, frame.time_base = i, encoder.time_base
        packets += encoder.encode(frame)
    return packets + encoder.encode(None)


def _decode(coding: Coding, packets: list[av.Packet], encoder: av.CodecContext) -> tuple[list, float | None]:
    decoder = av.CodecContext.create(coding.decoder, "r")
    decoder.thread_count = 1
    decoder.options = dict(TELLING)
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    decoder.height, decoder.width = encoder.height, encoder.width
    to_rgb = ToRGB(_colour(coding), 8)
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    rgb = [frame.to_ndarray(format="rgb24") if "rgb" in frame.format.name else to_rgb(frame) for frame in frames]
    return rgb, step_of_headers(packets, coding.encoder) if coding.decoder in IN_HEADERS else usual_step(frames)


@dataclass(frozen=True)
class VideoCodec(TellingStep):
    """A codec with a quality that is drawn.

    Attributes:
        codec: one of :data:`CODINGS`.
        quality: range of its quality.
        bit_rate: range of bits per pixel, drawn as a logarithm.
        bits_per_frame: in place of it, range of the bits of a frame, drawn evenly.
        by_rate: share of clips that are encoded by bit rate instead of quality.
        gops: lengths of groups of pictures to choose from.
        options: values to choose from, by option.
    """

    codec: str
    quality: tuple[int, int] = (2, 12)
    bit_rate: tuple[float, float] = (0.03, 0.3)
    bits_per_frame: tuple[float, float] | None = None
    by_rate: float = 0.0
    gops: tuple[int, ...] = (12, 25, 250)
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def degrade(self, clip: Clip, rng: np.random.Generator) -> Clip:
        """See :meth:`Step.degrade`."""
        asked = dict(gop=int(rng.choice(self.gops)), options={key: str(rng.choice(of)) for key, of in self.options})
        if rng.random() < self.by_rate:
            if self.bits_per_frame is None:
                asked["bit_rate"] = float(np.exp(rng.uniform(*np.log(self.bit_rate))))
            else:
                asked["bit_rate"] = rng.uniform(*self.bits_per_frame) / math.prod(clip.frames.shape[1:3])
        else:
            asked["quality"] = int(rng.integers(*self.quality, endpoint=True))
        eight_bits = (clip.frames.clip(0, 1) * 255).round().astype(np.uint8)
        decoded = encode_and_decode(eight_bits, self.codec, **asked)
        return clip.out_of_codec(decoded.frames.astype(np.float32) / 255, decoded.quantiser_step)
