"""How a video is encoded: codec, quality, pixel format."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.error import FFmpegError

from vsr_plugin.errors import MediaError
from vsr_plugin.settings import rate, setting

# No film is faster, or slower than its inverse; far beyond, units of time do not fit into containers.
_HIGHEST_RATE = 1000
#: Where the help of a command shows these settings.
_GROUP = "video output"


@dataclass(frozen=True)
class Encoding:
    """Choices for a video output.

    Attributes:
        codec: An FFmpeg video encoder, such as ``libx264``, ``libx265``, ``libvpx-vp9``,
            ``libsvtav1``, ``ffv1`` (lossless RGB), ``libx264rgb`` (lossless RGB at quality 0).
        quality: The codec's constant-quality number, lower is better; ``None`` takes a visually
            lossless one (14 for H.264).
        preset: Speed against size, in the codec's own words: ``slow`` for H.264, ``8`` for AV1; ``None`` is its
            default.
        pix_fmt: FFmpeg pixel format; ``None`` picks 4:2:0 (4:4:4 for odd sizes), 10 bit for deeper
            sources where the codec can, RGB for lossless codecs.
        audio: Copy the source's audio streams.
        frame_rate: Frames per second for a folder of images, 1/1000 to 1000; ``None`` means 25. A
            video keeps its own timestamps, but for a stream without a container, which has none.

    Raises:
        MediaError: the frame rate is none.
    """

    codec: str = setting("libx264", "FFmpeg encoder, e.g. libx264, libx265, ffv1", group=_GROUP)
    quality: int | None = setting(
        None,
        "constant quality, lower is better, such as 0 to 51 of libx264 (default: visually lossless)",
        group=_GROUP,
        metavar="Q",
        parse=int,
    )
    preset: str | None = setting(
        None, "speed against size: ultrafast to placebo of libx264, 0 to 13 of libsvtav1", group=_GROUP
    )
    pix_fmt: str | None = setting(
        None, "FFmpeg pixel format (default: 4:2:0, with 10 bits if the input has more than 8)", group=_GROUP
    )
    # Audio is copied when all is joined, so a job may be gone on with without it.
    audio: bool = setting(True, "leave the audio out", group=_GROUP, flag="--no-audio", changes_result=False)
    frame_rate: Fraction | None = setting(
        None,
        "frame rate for images and streams without a container, e.g. 25 or 30000/1001 (default: 25, or the stream's)",
        group=_GROUP,
        flag="--fps",
        metavar="R",
        parse=rate,
        compared=lambda rate: str(rate or 25),
    )

    def __post_init__(self) -> None:
        if self.frame_rate is not None and not Fraction(1, _HIGHEST_RATE) <= self.frame_rate <= _HIGHEST_RATE:
            raise MediaError(
                f"frame rate {self.frame_rate}: images are shown at 1/{_HIGHEST_RATE} to {_HIGHEST_RATE} frames per "
                "second; choose a rate such as 25 or 30000/1001 (--fps)"
            )


@dataclass(frozen=True)
class _Control:
    """A codec's quality option: name, default, best and worst; and the presets it knows, with their option's name."""

    option: str
    default: int
    best: int
    worst: int
    presets: tuple[str, ...] = ()
    preset_option: str = "preset"
    extra: tuple[tuple[str, str], ...] = ()


_X26X = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow", "placebo"),
)
_NVENC = (
    *("default", "slow", "medium", "fast", "hp", "hq", "bd", "ll", "llhq", "llhp", "lossless", "losslesshp"),
    *(f"p{i}" for i in range(1, 8)),
)
# Those of AV1 and VP9 are numbers, slowest first.
_CPU_USED = tuple(str(number) for number in range(9))
_SVT = tuple(str(number) for number in range(14))

_CONTROLS = {
    "libx264": _Control("crf", 14, 0, 51, presets=_X26X),
    "libx264rgb": _Control("crf", 0, 0, 51, presets=_X26X),
    # x265 writes its log to the terminal by itself unless told not to.
    "libx265": _Control("crf", 14, 0, 51, presets=_X26X, extra=(("x265-params", "log-level=none"),)),
    "libvpx-vp9": _Control("crf", 14, 0, 63, _CPU_USED, "cpu-used", (("b", "0"), ("row-mt", "1"))),
    # To it, as to NVENC, 0 means that no constant quality is asked for.
    "libsvtav1": _Control("crf", 16, 1, 63, _SVT),
    "libaom-av1": _Control("crf", 14, 0, 63, _CPU_USED, "cpu-used"),
    "h264_nvenc": _Control("cq", 16, 1, 51, presets=_NVENC, extra=(("rc", "vbr"),)),
    "hevc_nvenc": _Control("cq", 16, 1, 51, presets=_NVENC, extra=(("rc", "vbr"),)),
    # Their default is a fixed low bit rate; qmin and qmax together make it a fixed quantizer.
    "mpeg4": _Control("qmax", 2, 1, 31, extra=(("qmin", "1"),)),
    "mjpeg": _Control("qmax", 2, 1, 31, extra=(("qmin", "1"),)),
}
_RGB_FIRST = {"ffv1", "libx264rgb", "utvideo", "png", "ffvhuff", "huffyuv", "rawvideo"}

#: Encoders whose streams have no place for a colour description.
NO_COLOUR_TAGS = {"mpeg4"}

_RGB_8 = ("bgr0", "gbrp", "rgb24", "bgr24")
_RGB_DEEP = ("gbrp16le", "rgb48le", "rgb48be", "gbrp12le", "gbrp10le")
_YUV_8 = ("yuv420p", "yuvj420p", "nv12", "yuv422p", "yuv444p", "yuvj444p")
_YUV_DEEP = ("yuv420p10le", "p010le", "yuv422p10le", "yuv444p10le")


def find_codec(name: str) -> av.codec.Codec:
    """Return the encoder called ``name``.

    Raises:
        MediaError: this build of FFmpeg has no such video encoder.
    """
    try:
        codec = av.codec.Codec(name, "w")
    except (FFmpegError, ValueError) as error:
        raise MediaError(
            f"unknown codec {name!r}; choose a video encoder such as libx264, libx265, libvpx-vp9 or ffv1"
        ) from error
    if codec.type != "video":
        raise MediaError(f"codec {name!r} is for {codec.type}; choose a video encoder such as libx264")
    return codec


def encoder_options(codec: str, encoding: Encoding) -> dict[str, str]:
    """Return the options that give ``encoding`` its quality with this codec.

    Raises:
        MediaError: the codec has no such quality or preset.
    """
    if codec == "libsvtav1":
        # It writes its settings to the terminal by itself and listens to this variable only.
        os.environ.setdefault("SVT_LOG", "1")
    control = _CONTROLS.get(codec)
    if control is None:
        if encoding.quality is not None:
            known = ", ".join(sorted(_CONTROLS))
            raise MediaError(f"codec {codec!r} has no quality setting; leave it out or choose one of {known}")
        if encoding.preset is not None:
            raise _no_preset(codec, encoding.preset)
        return {}
    quality = control.default if encoding.quality is None else encoding.quality
    if not control.best <= quality <= control.worst:
        raise MediaError(f"quality {quality}: {codec} takes {control.best} (best) to {control.worst}; see --quality")
    if encoding.preset is not None and encoding.preset not in control.presets:
        raise _no_preset(codec, encoding.preset, control.presets)
    options = dict(control.extra)
    if codec in ("libx264", "libx264rgb") and _has_avx512():
        # x264's AVX-512 code for its macroblock tree reads memory that nothing wrote, so that the same frames give
        # other packets at every run; a resumed job has to give the packets of an uninterrupted one.
        options["x264-params"] = "asm=avx2"
    options[control.option] = str(quality)
    if encoding.preset is not None:
        options[control.preset_option] = encoding.preset
    return options


def _no_preset(codec: str, preset: str, presets: tuple[str, ...] = ()) -> MediaError:
    if presets:
        return MediaError(f"preset {preset!r}: {codec} has none of that name; choose {_either(presets)}")
    having = ", ".join(sorted(name for name, control in _CONTROLS.items() if control.presets))
    return MediaError(f"preset {preset!r}: codec {codec!r} has no presets; leave it out or choose one of {having}")


def _either(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


@functools.cache
def _has_avx512() -> bool:
    """Whether an encoder here would use AVX-512, told by Linux; elsewhere unknown, which counts as no."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return " avx2 " in flags and " avx512f " in flags


def choose_pix_fmt(
    codec: av.codec.Codec, requested: str | None, bit_depth: int, height: int, width: int
) -> tuple[str, list[str]]:
    """Return the pixel format to encode with, and notes on what it costs.

    Args:
        codec: The encoder.
        requested: A format the user insists on.
        bit_depth: Bits per sample of the source.
        height: Rows of the output.
        width: Columns of the output.

    Raises:
        MediaError: the codec cannot take the format or the size.
    """
    offered = [fmt.name for fmt in codec.video_formats or ()]
    if requested is not None:
        if offered and requested not in offered:
            raise MediaError(f"codec {codec.name} cannot encode {requested!r}; choose one of {', '.join(offered)}")
        if not _fits(requested, height, width):
            raise MediaError(
                f"pixel format {requested!r} needs even sizes, the output is {width}x{height}; choose yuv444p"
            )
        return requested, []
    rgb_first = codec.name in _RGB_FIRST
    shallow = _RGB_8 + _YUV_8 if rgb_first else _YUV_8 + _RGB_8
    deep = _RGB_DEEP + _YUV_DEEP if rgb_first else _YUV_DEEP
    wanted = deep + shallow if bit_depth > 8 else shallow + deep
    if codec.name == "mjpeg":
        # JPEG is full range; the encoder refuses the limited formats that it lists.
        wanted = [name for name in wanted if name.startswith("yuvj")]
    choices = [name for name in wanted if name in offered or not offered]
    fitting = [name for name in choices if _fits(name, height, width)]
    if not fitting:
        raise MediaError(
            f"codec {codec.name} cannot encode {width}x{height}; choose libx264 or ffv1, or name a pixel format"
        )
    chosen, notes = fitting[0], []
    if chosen != choices[0]:
        notes.append(f"the output is {width}x{height}, an odd size; it is encoded as {chosen}, which some players lack")
    if bit_depth > 8:
        bits = max(c.bits for c in av.VideoFormat(chosen).components)
        if bits < bit_depth:
            notes.append(f"the source has {bit_depth} bits per sample; {codec.name} writes {bits} ({chosen})")
        elif "420p10" in chosen:
            notes.append(f"the output has 10 bits per sample ({chosen}) as the source has")
    return chosen, notes


def _fits(pix_fmt: str, height: int, width: int) -> bool:
    """Whether the size divides into the format's chroma samples."""
    luma_only = av.VideoFormat(pix_fmt, 16, 16)
    chroma = [c for c in luma_only.components if not (c.is_luma or c.is_alpha)]
    if luma_only.is_rgb or not chroma:
        return True
    step_x = 16 // min(c.width for c in chroma)
    step_y = 16 // min(c.height for c in chroma)
    return width % step_x == 0 and height % step_y == 0
