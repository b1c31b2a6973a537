"""What restoring compressed footage is worth: clips, codecs and qualities against bicubic enlargement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from vsr_plugin.data.footage.codecs import CODINGS, encode_and_decode
from vsr_plugin.data.footage.step import Clip
from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation.extra_metrics import clip_vmaf, extra_figures, niqe
from vsr_plugin.evaluation.quality import Protocol, frame_quality
from vsr_plugin.models.quantiser_estimator import step_of_frames
from vsr_plugin.ops.frames import Frame
from vsr_plugin.ops.resize import bicubic_downsample, bicubic_upsample
from vsr_plugin.report import table_lines
from vsr_plugin.visualization.figures import new_figure, save_figure

#: What ``--codings`` measures unless it is told: of H.264 what x264 gives at its usual qualities, and older codecs.
USUAL = ("none", "h264:18", "h264:23", "h264:28", "h264:33", "mpeg4:4", "mpeg4:10", "mpeg2:1M", "mpeg2:3M")
#: Pixels a second of 480p, which bit rates are told for.
_PIXELS_480P = 720 * 480 * 25
#: What x264 does unless it is told otherwise, and MPEG-2 on DVDs. With its assembler, ``mbtree`` differs from run to
#: run where frames are as small as 44x36 (by 0.1 dB); without, nothing is lost but time.
_OPTIONS = {"h264": {"preset": "medium", "x264-params": "mbtree=1:asm=0"}, "mpeg2": {"bf": "2"}}
#: A way to enlarge: frames ``(h, w, 3)`` of ``uint8`` in, and how coarsely they were quantised; enlarged ones out.
Method = Callable[[Clip], Iterable[np.ndarray]]


@dataclass(frozen=True)
class Coding:
    """A codec and how good its result is.

    Attributes:
        codec: one of :data:`vsr_plugin.data.footage.codecs.CODINGS`, or ``None`` for frames as they are.
        quality: CRF or quantiser.
        bit_rate: in place of it, in bits a second for 720x480 at 25 frames a second.

    Example:
        >>> Coding.parse("h264:23"), str(Coding.parse("mpeg2:1.5M"))
        (Coding(codec='h264', quality=23, bit_rate=None), 'mpeg2 1.5 Mb/s')
    """

    codec: str | None
    quality: int | None = None
    bit_rate: float | None = None

    @classmethod
    def parse(cls, text: str) -> Coding:
        """Read what the command line has: ``none``, ``CODEC:QUALITY``, or ``CODEC:RATEM`` in Mb/s of 480p.

        Raises:
            VSRError: it is none of them.
        """
        codec, _, value = text.partition(":")
        if text == "none":
            return cls(None)
        if codec in CODINGS and value[-1:].upper() == "M" and _is_number(value[:-1]):
            return cls(codec, bit_rate=float(value[:-1]) * 1e6)
        if codec in CODINGS and value.isdecimal():
            return cls(codec, quality=int(value))
        known = ", ".join(CODINGS)
        raise VSRError(
            f"coding {text!r}: use none, CODEC:QUALITY or CODEC:RATEM, of {known}, such as h264:23, mpeg2:3M"
        )

    def __call__(self, frames: np.ndarray) -> Clip:
        """Frames ``(t, h, w, 3)`` of ``uint8`` as they come out of the codec."""
        if self.codec is None:
            return Clip(frames, None)
        rate = None if self.bit_rate is None else self.bit_rate / _PIXELS_480P
        gop = 12 if self.codec == "mpeg2" else 250
        options = _OPTIONS.get(self.codec)
        return encode_and_decode(frames, self.codec, quality=self.quality, bit_rate=rate, gop=gop, options=options)

    def __str__(self) -> str:
        if self.codec is None:
            return "none"
        return f"{self.codec} {self.quality}" if self.bit_rate is None else f"{self.codec} {self.bit_rate / 1e6:g} Mb/s"


def _is_number(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False


@dataclass(frozen=True)
class FootageScore:
    """Means over the frames of a clip.

    Attributes:
        clip, coding, method: what was measured.
        figures: ``psnr`` in dB and ``ssim`` on the Y channel, and others by name, ``None`` where a clip has none;
            ``niqe`` alone without ground truth.
        told, seen: how coarsely the codec has quantised the frames, in 255ths: as its decoder tells, and as they look.
    """

    clip: str
    coding: str
    method: str
    figures: Mapping[str, float | None]
    told: float | None = None
    seen: float | None = None


def measure_footage(
    clip: str,
    gt: Sequence[np.ndarray],
    codings: Iterable[Coding],
    methods: Mapping[str, Method],
    *,
    scale: int = 4,
    metrics: Sequence[str] = (),
) -> Iterator[FootageScore]:
    """Reduce a clip by BI, send it through codecs, and measure what methods make of it, bicubic enlargement first.

    Args:
        clip: its name.
        gt: RGB arrays ``(scale * h, scale * w, 3)`` of ``uint8``.
        codings: what the reduced frames go through.
        methods: by name.
        scale: ratio of the sides.
        metrics: besides PSNR and SSIM: ``'vmaf'``, and those of :mod:`vsr_plugin.evaluation.extra_metrics`.

    Yields:
        A score for each coding and method.
    """
    lrs = np.stack([bicubic_downsample(frame, scale) for frame in gt])
    for coding in codings:
        decoded = coding(lrs)
        seen = step_of_frames(decoded.frames)
        for name, method in _with_bicubic(methods, scale).items():
            figures = _figures(list(method(decoded)), gt, metrics)
            yield FootageScore(clip, str(coding), name, figures, decoded.quantiser_step, seen)


def measure_as_it_is(
    clip: str, frames: Sequence[Frame], methods: Mapping[str, Method], *, scale: int = 4
) -> Iterator[FootageScore]:
    """Measure what methods make of a clip whose ground truth nobody has, bicubic enlargement first.

    Args:
        clip: its name.
        frames: RGB arrays ``(h, w, 3)`` of ``uint8``.
        methods: by name.
        scale: ratio of the sides.

    Yields:
        A score for each method.

    Raises:
        VSRError: the enlarged frames are too small for NIQE.
    """
    seen = step_of_frames(frames)
    for name, method in _with_bicubic(methods, scale).items():
        values = [niqe(frame) for frame in method(Clip(np.stack(frames), None))]
        if None in values:
            raise VSRError(f"{clip}: too small for NIQE, which looks at blocks of 96x96; take a larger --crop")
        yield FootageScore(clip, "as it is", name, dict(niqe=float(np.mean(values))), seen=seen)


def _with_bicubic(methods: Mapping[str, Method], scale: int) -> dict[str, Method]:
    return {"bicubic": lambda decoded: (bicubic_upsample(frame, scale) for frame in decoded.frames), **methods}


def _figures(
    restored: Sequence[np.ndarray], gt: Sequence[np.ndarray], metrics: Sequence[str]
) -> dict[str, float | None]:
    rows = []
    for i, pair in enumerate(zip(restored, gt, strict=True)):
        psnr, ssim = frame_quality(*pair, Protocol())
        extra = extra_figures(metrics, restored.__getitem__, gt.__getitem__, i, len(gt), Protocol())
        rows.append(dict(psnr=psnr, ssim=ssim, **extra))
    known = {name: [row[name] for row in rows if row[name] is not None] for name in rows[0]}
    figures = {name: float(np.mean(values)) if values else None for name, values in known.items()}
    return figures | (dict(vmaf=clip_vmaf(restored, gt)) if "vmaf" in metrics else {})


def table(scores: Iterable[FootageScore]) -> Iterator[str]:
    """Lines of a table with a row for each clip and coding, as they come; methods beside bicubic by their gain.

    At the end stand means over the clips, where there are more than one.
    """
    groups = _with_means(_by_coding(scores))
    first = next(groups)
    base, *others = first
    titles = ["clip", "codec", "step told", "step seen", *(f"{base.method} {name}" for name in base.figures)]
    titles += [f"{other.method} {name}" for other in others for name in other.figures]
    yield from table_lines(titles, (_cells(base, rest) for base, *rest in chain([first], groups)))


def _with_means(groups: Iterable[list[FootageScore]]) -> Iterator[list[FootageScore]]:
    of_coding: dict[str, list[list[FootageScore]]] = {}
    for group in groups:
        of_coding.setdefault(group[0].coding, []).append(group)
        yield group
    for coding, clips in of_coding.items():
        if len(clips) > 1:
            yield [_mean(f"mean of {len(clips)}", coding, of_method) for of_method in zip(*clips, strict=True)]


def _mean(clip: str, coding: str, scores: Sequence[FootageScore]) -> FootageScore:
    of_clips = {name: [score.figures[name] for score in scores] for name in scores[0].figures}
    figures = {name: None if None in values else float(np.mean(values)) for name, values in of_clips.items()}
    return FootageScore(clip, coding, scores[0].method, figures)


def _cells(base: FootageScore, others: Sequence[FootageScore]) -> list[str]:
    steps = ("" if step is None else f"{step:.3g}" for step in (base.told, base.seen))
    cells = [base.clip, base.coding, *steps, *(_number(name, value) for name, value in base.figures.items())]
    for other in others:
        for name, value in other.figures.items():
            gain = f" ({value - base.figures[name]:+.2f})" if name == "psnr" else ""
            cells.append(_number(name, value) + gain)
    return cells


def _number(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if name == "ssim" else f"{value:.2f}"


def _by_coding(scores: Iterable[FootageScore]) -> Iterator[list[FootageScore]]:
    """The scores of one clip and coding together, as they come; bicubic's, which is first, begins each group."""
    group: list[FootageScore] = []
    for score in scores:
        if group and score.method == group[0].method:
            yield group
            group = []
        group.append(score)
    if group:
        yield group


def draw_gains(scores: Sequence[FootageScore], target: Path) -> None:
    """Draw what each method gains over bicubic enlargement, a panel for each clip.

    Raises:
        MediaError: the picture cannot be written.
    """
    groups = list(_by_coding(scores))
    clips = list(dict.fromkeys(group[0].clip for group in groups))
    figure = new_figure(5 * len(clips), 3.6)
    for panel, clip in zip(figure.subplots(1, len(clips), squeeze=False, sharey=True)[0], clips, strict=True):
        of_clip = [group for group in groups if group[0].clip == clip]
        codings = [group[0].coding for group in of_clip]
        for k in range(1, len(of_clip[0])):
            gains = [group[k].figures["psnr"] - group[0].figures["psnr"] for group in of_clip]
            panel.plot(codings, gains, "o-", label=of_clip[0][k].method)
        panel.axhline(0, color="grey", linewidth=1)
        panel.set(title=clip, ylabel="PSNR over bicubic (dB)")
        panel.tick_params(axis="x", rotation=60)
        panel.legend()
    save_figure(figure, target)
