"""Upscale a video or a folder of images with BasicVSR or IconVSR, x4 or to the size asked for."""

import argparse
import math
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from fractions import Fraction

import torch
from tqdm import tqdm

from vsr_plugin.acceleration import PRECISIONS
from vsr_plugin.cli.command import HelpFormatter, print_error
from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation import Protocol
from vsr_plugin.inference.planning import OVERLAP, STRATEGIES, WINDOW, parse_memory
from vsr_plugin.media import Encoding
from vsr_plugin.media.deinterlacing import DEINTERLACE
from vsr_plugin.models.iconvsr_net import IconVSRNet
from vsr_plugin.models.propagation.forgetting import LONG, USUAL_RATE
from vsr_plugin.models.vsr_net import VSRNet
from vsr_plugin.ops.device import pick_device
from vsr_plugin.progress import frame_progress
from vsr_plugin.restoration import RestoreOptions, RestoreResult, restore_video
from vsr_plugin.restoration.batch import is_done, pair_outputs
from vsr_plugin.restoration.options import expected_frames
from vsr_plugin.restoration.sharing import Sharing
from vsr_plugin.weights import load_net


def parse_args(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    def natural(text: str) -> int:
        if (number := int(text)) < 0:
            raise ValueError
        return number

    def positive(text: str) -> int:
        if (number := int(text)) < 1:
            raise ValueError
        return number

    def share(text: str) -> float:
        if not 0 <= (number := float(text)) < 1:
            raise ValueError
        return number

    def factor(text: str) -> float:
        if not 0 < (number := float(text)) < math.inf:
            raise ValueError
        return number

    def rate(text: str) -> Fraction:
        # The denominator of a fraction may be 0, which argparse takes for a fault of the program.
        with suppress(ZeroDivisionError):
            if (number := Fraction(text)) > 0:
                return number
        raise ValueError

    def memory_size(text: str) -> int:
        return parse_memory(text)

    natural.__name__, positive.__name__ = "number (0 or more)", "number (1 or more)"
    share.__name__, factor.__name__ = "share (0 to less than 1)", "factor (above 0, such as 2 or 1.5)"
    rate.__name__, memory_size.__name__ = "rate (above 0, such as 25 or 30000/1001)", "size such as 8G or 500M"
    parser = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("inputs", nargs="+", metavar="input", help="video file, folder of images, or one image")
    parser.add_argument(
        "output",
        help="video file (.mp4 .mkv .mov .avi .webm .m4v), or folder for PNG files; of several inputs a folder",
    )
    parser.add_argument("--weights", default="basicvsr_reds4", help="published name, or path of a checkpoint")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N, or auto for a GPU if there is one")
    parser.add_argument("--overwrite", action="store_true", help="replace an output that exists")
    parser.add_argument("--resume", action="store_true", help="go on with a run of the same command that was stopped")

    part = parser.add_argument_group("input")
    part.add_argument("--start", type=natural, default=0, metavar="N", help="first frame, counted from 0")
    part.add_argument("--num-frames", type=positive, metavar="N", help="number of frames (default: to the end)")
    part.add_argument(
        "--deinterlace",
        choices=tuple(DEINTERLACE),
        default=RestoreOptions.deinterlace,
        help="make whole frames of interlaced video: auto: where the video says that it is; on: of all frames; fields: "
        "one of every field, at twice the frame rate; film: the 24 frames a second of film on NTSC video; off: leave "
        "frames as they are",
    )

    size = parser.add_argument_group("size of the output").add_mutually_exclusive_group()
    size.add_argument(
        "--scale",
        type=factor,
        metavar="S",
        help="sides of the output over those of the input, e.g. 2 or 1.5, rounded to whole pixels (default: the "
        "network's own); the restored frames are resized",
    )
    size.add_argument(
        "--height",
        type=positive,
        metavar="N",
        help="height of the output in pixels, as it is shown if the video is rotated; the width follows, even where "
        "the height is",
    )

    propagation = parser.add_argument_group("propagation")
    propagation.add_argument(
        "--scene-cuts",
        choices=("auto", "on", "off"),
        default=RestoreOptions.scene_cuts,
        help="restart propagation where the picture changes to another shot; auto: in videos, not in folders",
    )
    propagation.add_argument(
        "--forgetting",
        type=share,
        metavar="R",
        help="share of its propagated features that a still pixel loses per frame, so that long shots do not drift "
        f"(default: {USUAL_RATE} in scenes of videos of {LONG} frames or more, elsewhere 0 as in the paper)",
    )

    speed = parser.add_argument_group("speed, memory and quality")
    speed.add_argument(
        "--precision",
        choices=tuple(PRECISIONS),
        default=RestoreOptions.precision,
        help="of features; flow, sampling and output stay float32",
    )
    speed.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default=RestoreOptions.strategy,
        help="whole: all in memory, if it fits; exact: the same result in bounded memory; window: overlapping windows, "
        "an approximation; auto: whole or exact",
    )
    speed.add_argument(
        "--memory-budget",
        type=memory_size,
        metavar="SIZE",
        help="of each process, such as 8G or 500M (default: half of what is free, shared out)",
    )
    speed.add_argument(
        "--tile", type=positive, metavar="N", help="work on tiles of N LR pixels (default: where a frame does not fit)"
    )
    speed.add_argument("--window", type=positive, metavar="N", help=f"frames kept of each window (default: {WINDOW})")
    speed.add_argument(
        "--overlap",
        type=natural,
        metavar="N",
        help=f"frames that a window reads beyond each end (default: {OVERLAP})",
    )
    speed.add_argument(
        "--keyframe-stride",
        type=natural,
        metavar="N",
        help="IconVSR: every N-th frame is a keyframe, 0 for none; fewer are faster and cost quality (default: 5)",
    )

    video = parser.add_argument_group("video output")
    video.add_argument("--codec", default=Encoding.codec, help="FFmpeg encoder, e.g. libx264, libx265, ffv1")
    video.add_argument(
        "--quality",
        type=int,
        metavar="Q",
        help="constant quality, lower is better, such as 0 to 51 of libx264 (default: visually lossless)",
    )
    video.add_argument("--preset", help="speed against size: ultrafast to placebo of libx264, 0 to 13 of libsvtav1")
    video.add_argument(
        "--pix-fmt", help="FFmpeg pixel format (default: 4:2:0, with 10 bits if the input has more than 8)"
    )
    video.add_argument("--no-audio", action="store_true", help="leave the audio out")
    video.add_argument(
        "--fps",
        type=rate,
        metavar="R",
        help="frame rate for a folder of images, e.g. 25 or 30000/1001 (default: 25)",
    )

    quality = parser.add_argument_group("quality")
    quality.add_argument(
        "--gt",
        metavar="PATH",
        help="ground truth (video or folder): prints PSNR and SSIM of the frames before encoding, writes "
        "OUTPUT_quality.csv",
    )
    quality.add_argument("--channel", choices=("Y", "RGB"), default="Y", help="what PSNR and SSIM are taken on")
    quality.add_argument("--crop-border", type=natural, default=0, metavar="N", help="pixels left out at every edge")
    quality.add_argument(
        "--comparison", metavar="PNG", help="write a picture of the middle frame, bicubic beside restored"
    )
    args = parser.parse_args(arguments)
    for option in ("window", "overlap"):
        if getattr(args, option) is not None and args.strategy != "window":
            parser.error(f"argument --{option}: it is for --strategy window, which it does not choose by itself")
    return args


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    args = parse_args(arguments, prog)
    with Sharing.from_environment() as sharing:
        return run(args, sharing)


def run(args: argparse.Namespace, sharing: Sharing) -> int:
    pairs = pair_outputs(args.inputs, args.output)
    if len(pairs) > 1 and (args.gt or args.comparison):
        raise VSRError("--gt and --comparison are for one input; do the inputs apart")
    device = pick_device(args.device)
    if device.type == "cuda" and device.index is None and sharing.world > 1:
        device = torch.device("cuda", sharing.local_rank % torch.cuda.device_count())
    stride = {} if args.keyframe_stride is None else dict(keyframe_stride=args.keyframe_stride or None)
    net = load_net(args.weights, device=device, **stride)
    if not isinstance(net, VSRNet):
        raise VSRError(f"{args.weights}: weights of {type(net).__name__}, which is a part and cannot restore a video")
    if stride and not isinstance(net, IconVSRNet):
        raise VSRError(f"--keyframe-stride: {args.weights} are weights of {type(net).__name__}, which has no keyframes")
    if len(pairs) == 1:
        restore_one(*pairs[0], args, net, device, sharing)
        return 0
    failed = []
    for input_path, output_path in pairs[sharing.rank :: sharing.world]:
        if args.resume and is_done(output_path):
            print(f"{output_path}: is there already")
            continue
        try:
            restore_one(input_path, output_path, args, net, device, sharing.apart(), quiet=not sharing.is_first)
        except VSRError as error:
            # A night's work must not end with the first file that is damaged.
            print_error(error)
            failed.append(input_path)
    # One that failed ends last, because torchrun then stops the others.
    sharing.wait()
    if failed:
        print(f"error: {len(failed)} of {len(pairs)} inputs failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def make_options(args: argparse.Namespace) -> RestoreOptions:
    return RestoreOptions(
        start=args.start,
        num_frames=args.num_frames,
        strategy=args.strategy,
        memory_budget=args.memory_budget,
        precision=args.precision,
        tile=args.tile,
        window=args.window,
        overlap=args.overlap,
        scene_cuts=args.scene_cuts,
        deinterlace=args.deinterlace,
        forgetting=args.forgetting,
        scale=args.scale,
        height=args.height,
        resume=args.resume,
        gt=args.gt,
        protocol=Protocol(args.channel, args.crop_border),
        comparison=args.comparison,
        overwrite=args.overwrite,
        encoding=Encoding(
            codec=args.codec,
            quality=args.quality,
            preset=args.preset,
            pix_fmt=args.pix_fmt,
            audio=not args.no_audio,
            frame_rate=args.fps,
        ),
    )


def restore_one(
    input_path: str,
    output_path: str,
    args: argparse.Namespace,
    net: VSRNet,
    device: torch.device,
    sharing: Sharing,
    *,
    quiet: bool = False,
) -> None:
    """Restore an input and print what a person wants to know; ``quiet`` leaves the beginning and the progress out."""
    options = make_options(args)
    with ExitStack() as stack:
        bars = []

        def on_open(source) -> None:
            if quiet:
                return
            others = f", one of {sharing.world} processes" if sharing.world > 1 else ""
            shown = source.orientation.size
            sizes = [(source.height, source.width), options.output_size.of_source(source, net.scale)]
            (h, w), (height, width) = (shown(*size) for size in sizes)
            print(
                f"{input_path}: {w}x{h} -> {width}x{height}, {type(net).__name__} ({args.weights}) on {device}{others}"
            )
            total = expected_frames(source, options)
            bars.append(stack.enter_context(frame_progress(total and -(-total // sharing.world))))

        def progress(count: float) -> None:
            for bar in bars:
                bar.update(count)

        reported = []

        def on_note(line: str) -> None:
            reported.append(line)
            whose = f"process {sharing.rank}: " if not sharing.is_first else f"{output_path}: " if quiet else ""
            tqdm.write(f"note: {whose}{line}")

        result = restore_video(
            input_path, output_path, net, options, on_open=on_open, progress=progress, on_note=on_note, sharing=sharing
        )
    if result is not None:
        report(result, reported, output_path, options)


def report(result: RestoreResult, reported: list[str], output_path: str, options: RestoreOptions) -> None:
    """Print the notes that were not reported yet, the number of frames and the quality."""
    for note in result.notes:
        if note not in reported:
            print(f"note: {note}")
    print(f"{output_path}: {result.num_frames} frames")
    if result.quality is not None:
        means = result.quality.means()
        print(f"PSNR {means['psnr']:.2f} dB, SSIM {means['ssim']:.4f}", end=" ")
        print(f"(bicubic: {means['bicubic_psnr']:.2f} dB, {means['bicubic_ssim']:.4f})")
        print(f"protocol: {result.quality.in_words()}")
        print(f"per frame: {result.quality_path}")
    if options.comparison:
        print(f"comparison: {options.comparison}")
