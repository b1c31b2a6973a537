"""What choices cost or gain, in dB."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch.nn as nn

from vsr_plugin.benchmarks import footage
from vsr_plugin.benchmarks.inputs import load_gt
from vsr_plugin.benchmarks.quality import drift_table, measure_drift, measure_interlaced, measure_sizes, measure_windows
from vsr_plugin.data.degraded_clip import degraded_clip
from vsr_plugin.data.footage.codecs import CODINGS
from vsr_plugin.data.footage.step import Clip
from vsr_plugin.data.sample_clips import SAMPLE_CLIPS
from vsr_plugin.defaults import USUAL_RATE, USUAL_WEIGHTS
from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation.extra_metrics import DEFINITIONS, VMAF, check_metrics, check_vmaf, definitions_of
from vsr_plugin.files import check_picture_name
from vsr_plugin.inference import restore_frames
from vsr_plugin.models.adaptation import SHIPPED_ADAPTATIONS, Adaptation
from vsr_plugin.models.cleaning import clean_by, with_cleaning
from vsr_plugin.models.propagation import with_forgetting
from vsr_plugin.models.quantiser_estimator import FAINTEST, fitting_step, step_of_frames
from vsr_plugin.models.vsr_net import load_restorer, with_ensemble
from vsr_plugin.report import table_lines
from vsr_plugin.settings import natural, positive, quantiser_step, size, turns


def window(text: str) -> tuple[int, int]:
    frames, _, overlap = text.partition("x")
    return positive(frames), natural(overlap)


window.__name__ = "window (WINDOWxOVERLAP, e.g. 30x5)"


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add them to the command."""
    part = commands.add_parser("windows", help="cost of windows against the whole sequence")
    add_shots(part)
    part.add_argument(
        "--settings", nargs="+", type=window, default=[(30, 5), (30, 15), (60, 5), (60, 15)], metavar="WxO",
        help="window x overlap, in frames",
    )  # fmt: skip
    part.add_argument("--forgetting", type=float, default=0.0, metavar="R", help="of the whole sequence and of windows")
    part.set_defaults(run=run_windows)

    part = commands.add_parser("drift", help="quality along a long shot, by forgetting")
    add_shots(part)
    part.add_argument("--rates", nargs="+", type=float, default=[0.0, USUAL_RATE], metavar="R", help="of forgetting")
    part.add_argument("--strategies", nargs="+", choices=("whole", "window"), default=["whole", "window"])
    part.add_argument("--stretch", type=positive, default=25, metavar="N", help="frames that a column is the mean of")
    part.add_argument(
        "--freeze", type=int, default=argparse.SUPPRESS, metavar="N", help="show frame N of the clip all the time"
    )
    part.set_defaults(run=run_drift)

    part = commands.add_parser("sizes", help="quality at other sizes than the network's")
    add_shots(part)
    part.add_argument(
        "--scales", nargs="+", type=positive, default=[2, 3, 4], metavar="S", help="reduced and restored by"
    )
    part.set_defaults(frames=11, crop=(288, 512), run=run_sizes)

    part = commands.add_parser("interlaced", help="what whole frames are worth")
    add_shots(part)
    part.set_defaults(frames=24, crop=(288, 512), run=run_interlaced)

    part = commands.add_parser("footage", help="compressed frames, with and without cleaning")
    part.add_argument(
        "--clips", nargs="+", default=list(SAMPLE_CLIPS), metavar="CLIP", help="sample clips, or videos and folders"
    )
    part.add_argument("--crop", type=size, default=(288, 512), metavar="HxW", help="HR crop at the top left")
    part.add_argument("--start", type=int, default=30, metavar="N", help="first frame of each clip")
    part.add_argument("--frames", type=positive, default=15, metavar="N", help="frames of each clip")
    part.add_argument("--weights", default=USUAL_WEIGHTS, help="published name or path")
    part.add_argument("--clean", type=float, default=1.0, metavar="S", help="strength of the cleaning that is compared")
    part.add_argument(
        "--codings", nargs="+", default=list(footage.USUAL), metavar="CODING",
        help=f"none, CODEC:QUALITY or CODEC:RATEM (Mb/s of 480p), of {', '.join(CODINGS)}",
    )  # fmt: skip
    part.add_argument(
        "--metrics", nargs="+", choices=[*DEFINITIONS, "vmaf"], default=[], metavar="METRIC",
        help=f"besides PSNR and SSIM: {', '.join(DEFINITIONS)}, vmaf",
    )  # fmt: skip
    part.add_argument(
        "--as-it-is", action="store_true", help="restore the clips themselves, and measure them without truth (NIQE)"
    )
    adapted = part.add_mutually_exclusive_group()
    adapted.add_argument(
        "--adaptation", metavar="A",
        help="compare shares of it in place of the default: adaptation.safetensors of a training, or "
        + " or ".join(SHIPPED_ADAPTATIONS),
    )  # fmt: skip
    part.add_argument("--shares", nargs="+", type=float, default=[0.0, 0.5, 1.0], metavar="S", help="of --adaptation")
    adapted.add_argument(
        "--as-step", nargs="+", type=quantiser_step, metavar="N",
        help="compare networks adapted to quantisers of such steps, in 255ths, whatever the codec's own is; the "
        "cleaning is told the codec's",
    )  # fmt: skip
    adapted.add_argument(
        "--untold", action="store_true",
        help="keep what the codec tells from the cleaning, which then goes by the frames, as of lossless copies",
    )  # fmt: skip
    part.add_argument("--ensemble", type=turns, default=1, metavar="2|4|8", help="of every network")
    part.add_argument("--picture", type=Path, metavar="PNG", help="draw what is gained over bicubic enlargement")
    part.set_defaults(run=run_footage)


def add_shots(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", nargs="+", choices=SAMPLE_CLIPS, default=list(SAMPLE_CLIPS))
    parser.add_argument("--crop", type=size, default=(144, 256), metavar="HxW", help="HR crop at the bottom left")
    parser.add_argument("--frames", type=positive, default=125, metavar="N", help="first frames of each clip")
    parser.add_argument("--weights", default="basicvsr_reds4", help="published name or path")


def run_windows(args: argparse.Namespace) -> None:
    net = with_forgetting(load_restorer(args.weights), args.forgetting)
    print(f"weights: {args.weights}, forgetting {args.forgetting:g}")
    print("PSNR in dB on the Y channel, per frame, less that of the whole sequence")
    for clip in args.clips:
        gt = load_gt(clip, args.frames, *args.crop, net.scale)
        whole, costs = measure_windows(net, gt, args.settings)
        print(f"{clip}, {len(gt)} frames of {gt[0].shape[1]}x{gt[0].shape[0]}: whole sequence {whole:.3f} dB")
        for cost in costs:
            print(f"  {cost}", flush=True)


def run_drift(args: argparse.Namespace) -> None:
    net = load_restorer(args.weights)
    print(f"weights: {args.weights}; PSNR in dB on the Y channel, means over frames")
    for clip in args.clips:
        if "freeze" in args:
            still = load_gt(clip, args.freeze + 1, *args.crop, net.scale)
            if len(still) <= args.freeze:
                raise VSRError(f"--freeze {args.freeze}: {clip} has {len(still)} frames, counted from 0")
            gt, shown = [still[-1]] * args.frames, f"frame {args.freeze}, {args.frames} times"
        else:
            gt = load_gt(clip, args.frames, *args.crop, net.scale)
            shown = f"{len(gt)} frames"
        print(f"\n{clip}, {shown}, {gt[0].shape[1]}x{gt[0].shape[0]}\n")
        for line in drift_table(measure_drift(net, gt, args.rates, args.strategies), args.stretch):
            print(line, flush=True)


def run_sizes(args: argparse.Namespace) -> None:
    net = load_restorer(args.weights)
    print(f"weights: {args.weights}, x{net.scale}; PSNR in dB on the Y channel, means over frames\n")

    def rows() -> Iterator[list[str]]:
        for clip in args.clips:
            gt = load_gt(clip, args.frames, *args.crop)
            if min(gt[0].shape[:2]) < max(args.scales):
                way_out = "choose a smaller one"
                raise VSRError(f"--scales {max(args.scales)}: crops of {clip} are too small for it; {way_out}")
            for scale, (h, w), bicubic, restored in measure_sizes(net, gt, args.scales):
                figures = [f"{bicubic:.2f}", f"{restored:.2f}", f"{restored - bicubic:+.2f}"]
                yield [clip, f"{w}x{h}", f"x{scale}", *figures]

    for line in table_lines(["clip", "LR", "enlarged", "bicubic", "restored", "gain"], rows()):
        print(line, flush=True)


def run_interlaced(args: argparse.Namespace) -> None:
    if args.frames < 4:
        raise VSRError(f"--frames {args.frames}: whole frames are made of fields of several; use 4 or more")
    net = load_restorer(args.weights)
    print(f"weights: {args.weights}, x{net.scale}; PSNR in dB on the Y channel, means over frames\n")

    def rows() -> Iterator[list[str]]:
        for clip in args.clips:
            gt = load_gt(clip, args.frames, *args.crop, net.scale)
            for name, bicubic, restored in measure_interlaced(net, gt[: len(gt) // 4 * 4]):
                yield [clip, name, f"{bicubic:.2f}", f"{restored:.2f}"]

    for line in table_lines(["clip", "--deinterlace", "bicubic", "restored"], rows()):
        print(line, flush=True)


def _with_and_without_cleaning(net: nn.Module, args: argparse.Namespace) -> dict[str, footage.Method]:
    def plain(decoded: Clip) -> Iterator[np.ndarray]:
        return _restored(net, decoded)

    def cleaned(decoded: Clip) -> Iterator[np.ndarray]:
        told = None if args.untold else decoded.quantiser_step
        step = fitting_step(told, step_of_frames(decoded.frames))
        if decoded.coarsest_step is None and not args.untold and step < FAINTEST:
            step = None  # a codec that does not tell, see vsr_plugin.restoration.footage
        return _restored(clean_by(net, args.clean, step), decoded)

    return {"plain": plain, "cleaned": cleaned}


def _by_shares(net: nn.Module, args: argparse.Namespace) -> dict[str, footage.Method]:
    """Methods with all of the cleaning, and so much of an adaptation."""
    adaptation = Adaptation.load(args.adaptation)
    if not adaptation.fits(net):
        raise VSRError(f"{args.adaptation}: changes of other weights than {args.weights}; name those by --weights")
    cleaning = clean_by(net, args.clean).cleaning

    def restored(share: float, decoded: Clip) -> Iterator[np.ndarray]:
        way = with_cleaning(adaptation.adapted(net, share), cleaning.at(args.clean, decoded.quantiser_step))
        return _restored(way, decoded)

    return {f"share {share:g}": partial(restored, share) for share in args.shares}


def _as_steps(net: nn.Module, args: argparse.Namespace) -> dict[str, footage.Method]:
    """Methods with all of the cleaning, and what ships for quantisers of other steps than the codec's."""
    if not all(Adaptation.load(name).fits(net) for name in SHIPPED_ADAPTATIONS):
        raise VSRError(f"--as-step: nothing ships that adapts {args.weights}; leave it, or --weights, out")

    def restored(step: float, decoded: Clip) -> Iterator[np.ndarray]:
        adapted = clean_by(net, args.clean, step)
        cleaning = adapted.cleaning.at(args.clean, decoded.quantiser_step)
        return _restored(with_cleaning(adapted, cleaning), decoded)

    return {f"as step {step:g}": partial(restored, step) for step in args.as_step}


def _methods(net: nn.Module, args: argparse.Namespace) -> dict[str, footage.Method]:
    if (args.adaptation or args.as_step) and not args.clean:
        raise VSRError("--clean 0: adaptations serve cleaned frames alone; use a strength above 0")
    if args.adaptation:
        return _by_shares(net, args)
    return _as_steps(net, args) if args.as_step else _with_and_without_cleaning(net, args)


def _restored(net: nn.Module, decoded: Clip) -> Iterator[np.ndarray]:
    return restore_frames(net, list(decoded.frames), num_frames=len(decoded.frames))


def run_footage(args: argparse.Namespace) -> None:
    codings = [footage.Coding.parse(text) for text in args.codings]
    check_metrics([name for name in args.metrics if name != "vmaf"])
    if "vmaf" in args.metrics:
        check_vmaf()
    if args.as_it_is and (args.metrics or args.picture):
        raise VSRError("--as-it-is measures NIQE alone, since there is no truth; leave --metrics and --picture out")
    if args.picture is not None:
        check_picture_name(args.picture)
    net = with_ensemble(load_restorer(args.weights), args.ensemble)
    methods = _methods(net, args)
    ensemble = f", ensemble of {net.ensemble}" if net.ensemble > 1 else ""
    print(
        f"weights: {args.weights}, x{net.scale}{ensemble}; means over {args.frames} frames from frame {args.start} on\n"
    )
    scores = []

    def measured() -> Iterator[footage.FootageScore]:
        for name in args.clips:
            clip = degraded_clip(
                name,
                start=args.start,
                num_frames=args.frames,
                size=args.crop,
                degrade=not args.as_it_is,
                scale=net.scale,
            )
            if clip.gts is None:
                of_clip = footage.measure_as_it_is(clip.name, clip.lqs, methods, scale=net.scale)
            else:
                of_clip = footage.measure_footage(
                    clip.name, clip.gts, codings, methods, scale=net.scale, metrics=args.metrics
                )
            for score in of_clip:
                scores.append(score)
                yield score

    for line in footage.table(measured()):
        print(line, flush=True)
    for definition in definitions_of(scores[0].figures):
        print(definition)
    if "vmaf" in args.metrics:
        print(VMAF)
    if args.picture:
        footage.draw_gains(scores, args.picture)
