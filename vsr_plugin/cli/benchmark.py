"""Measure against MMagic: `speed`, `train`, `data`.

Ours alone: `profile`, `film`, `cluster`; and in dB `windows` (their cost), `drift`, `sizes`, `interlaced`, `footage`.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from vsr_plugin.acceleration.precision import PRECISIONS
from vsr_plugin.benchmarks import data, drift, film, footage, gpu_report, profiling, speed, training
from vsr_plugin.benchmarks.implementations import (
    CONTENDERS,
    MODELS,
    USUAL,
    Setting,
    build,
    computable,
    plain_net,
)  # fmt: skip
from vsr_plugin.benchmarks.inputs import load_gt, load_sequence
from vsr_plugin.benchmarks.interlaced import measure_interlaced
from vsr_plugin.benchmarks.json_report import as_json
from vsr_plugin.benchmarks.machine import describe_machine
from vsr_plugin.benchmarks.sizes import measure_sizes
from vsr_plugin.benchmarks.windows import measure_windows
from vsr_plugin.data.degraded_clip import degraded_clip
from vsr_plugin.data.footage.codecs import CODINGS
from vsr_plugin.data.sample_clips import SAMPLE_CLIPS
from vsr_plugin.defaults import USUAL_RATE, USUAL_WEIGHTS
from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation import vmaf
from vsr_plugin.evaluation.extra_metrics import DEFINITIONS, check_metrics, definitions_of
from vsr_plugin.inference import restore_frames
from vsr_plugin.media import Encoding
from vsr_plugin.models.cleaning.shipped import clean_by
from vsr_plugin.models.propagation.forgetting import with_forgetting
from vsr_plugin.report import table_lines
from vsr_plugin.settings import memory_size, positive
from vsr_plugin.weights import load_net


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width)


_size.__name__ = "size (HEIGHTxWIDTH, e.g. 180x320)"


def _scale(text: str) -> int:
    if (scale := int(text)) < 1:
        raise ValueError(text)
    return scale


_scale.__name__ = "scale (1 or more)"


def add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights", help="published name or path (default: basicvsr_reds4; IconVSR: random but for BasicVSR's parts)"
    )


def add_setting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", choices=MODELS, default="basicvsr")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto for a GPU if there is one")
    parser.add_argument("--threads", type=int, default=0, help="PyTorch's threads, 0 for its own choice")


def add_shots(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", nargs="+", choices=SAMPLE_CLIPS, default=list(SAMPLE_CLIPS))
    parser.add_argument("--crop", type=_size, default=(144, 256), metavar="HxW", help="HR crop at the bottom left")
    parser.add_argument("--frames", type=int, default=125, metavar="N", help="first frames of each clip")
    parser.add_argument("--weights", default="basicvsr_reds4", help="published name or path")


def read_device(args: argparse.Namespace) -> str:
    device = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and not torch.cuda.is_available():
        raise VSRError(f"device {device!r} cannot be used here: no GPU that PyTorch can use; use --device cpu")
    return device


def read_setting(args: argparse.Namespace) -> Setting:
    return Setting(args.model, args.weights, read_device(args), args.threads)


def choose_contenders(args: argparse.Namespace, usual: dict[str, str], device: str) -> list[str]:
    contenders, left_out = (args.contenders, []) if "contenders" in args else computable(usual, device)
    print(*left_out, "", sep="\n", flush=True)
    return contenders


def parse_args(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    defaults = argparse.ArgumentDefaultsHelpFormatter

    part = commands.add_parser("speed", help="speed, memory and PSNR, contenders in turn", formatter_class=defaults)
    part.add_argument(
        "--contenders", nargs="+", choices=CONTENDERS, default=argparse.SUPPRESS,
        help="(default: mmagic fp32, and bf16 where the device computes in it)",
    )  # fmt: skip
    part.add_argument("--clips", nargs="+", choices=SAMPLE_CLIPS, default=["bigbuckbunny"])
    part.add_argument(
        "--sizes", nargs="+", type=_size, default=[(180, 320)], metavar="HxW",
        help="LR sizes, cut from the top left or mirrored",
    )  # fmt: skip
    part.add_argument(
        "--usual-crops", action="store_true", help="instead of --sizes, the crop of each clip in the docs"
    )
    part.add_argument("--frames", nargs="+", type=int, default=[8], metavar="N", help="lengths of the sequences")
    part.add_argument("--repetitions", type=int, default=3)
    part.add_argument("--json", type=Path, metavar="PATH", help="write all figures to this file")
    add_setting(part)
    add_weights(part)

    part = commands.add_parser("train", help="time and memory of a training step", formatter_class=defaults)
    part.add_argument(
        "--contenders", nargs="+", choices=training.CONTENDERS, default=argparse.SUPPRESS,
        help="cp: gradient checkpointing (default: mmagic fp32 fp32+cp, and bf16 bf16+cp if the device can)",
    )  # fmt: skip
    for field, words in (("batch", "sequences"), ("frames", "length of the sequences"), ("patch", "LR side")):
        part.add_argument(
            f"--{field}", type=int, default=getattr(training.TrainSetting, field), metavar="N", help=words
        )
    part.add_argument("--mid-channels", type=int, default=training.TrainSetting.mid_channels, metavar="N")
    part.add_argument("--num-blocks", type=int, default=training.TrainSetting.num_blocks, metavar="N")
    part.add_argument("--repetitions", type=int, default=3)
    part.add_argument("--json", type=Path, metavar="PATH", help="write all figures to this file")
    add_setting(part)

    part = commands.add_parser("profile", help="time and GFLOP/s of each component", formatter_class=defaults)
    part.add_argument("--contender", choices=["plain", *PRECISIONS], default="fp32")
    part.add_argument("--size", type=_size, default=(180, 320), metavar="HxW")
    part.add_argument("--frames", type=int, default=8)
    part.add_argument("--repetitions", type=int, default=3)
    add_setting(part)
    add_weights(part)

    part = commands.add_parser(
        "film", help="a whole restoration, file to file, and its parts", formatter_class=defaults
    )
    part.add_argument(
        "--sizes", nargs="+", type=_size, default=[(360, 640), (480, 720), (720, 1280)], metavar="HxW",
        help="of the input, even",
    )  # fmt: skip
    part.add_argument("--frames", type=int, default=1000, metavar="N", help="length of the film")
    part.add_argument("--weights", default=USUAL_WEIGHTS, help="published name or path")
    part.add_argument("--precision", choices=tuple(PRECISIONS), default="fp32", help="of the network")
    part.add_argument("--device", default="auto", help="cpu, cuda, or auto for a GPU if there is one")
    part.add_argument("--folder", type=Path, help="where input and output are for the time being (default: system's)")
    part.add_argument("--json", type=Path, metavar="PATH", help="write all figures to this file")
    part.add_argument("--codec", default=Encoding.codec, help="FFmpeg encoder of the result, such as hevc_nvenc")
    part.add_argument("--preset", help="its speed against size, such as ultrafast")

    part = commands.add_parser("gpu-report", help="all figures of a GPU by one call", formatter_class=defaults)
    part.add_argument("folder", type=Path, help="takes report.md and report.json, after every part")
    part.add_argument("--parts", nargs="+", choices=gpu_report.PARTS, default=list(gpu_report.PARTS), metavar="PART")
    part.add_argument("--minutes", type=float, default=60.0, metavar="N", help="for all of them")

    part = commands.add_parser("windows", help="cost of windows against the whole sequence", formatter_class=defaults)
    add_shots(part)
    part.add_argument(
        "--settings", nargs="+", type=_size, default=[(30, 5), (30, 15), (60, 5), (60, 15)], metavar="WxO",
        help="window x overlap, in frames",
    )  # fmt: skip
    part.add_argument("--forgetting", type=float, default=0.0, metavar="R", help="of the whole sequence and of windows")

    part = commands.add_parser("drift", help="quality along a long shot, by forgetting", formatter_class=defaults)
    add_shots(part)
    part.add_argument("--rates", nargs="+", type=float, default=[0.0, USUAL_RATE], metavar="R", help="of forgetting")
    part.add_argument("--strategies", nargs="+", choices=("whole", "window"), default=["whole", "window"])
    part.add_argument("--stretch", type=int, default=25, metavar="N", help="frames that a column is the mean of")
    part.add_argument(
        "--freeze", type=int, default=argparse.SUPPRESS, metavar="N", help="show frame N of the clip all the time"
    )

    part = commands.add_parser("sizes", help="quality at other sizes than the network's", formatter_class=defaults)
    add_shots(part)
    part.add_argument(
        "--scales", nargs="+", type=_scale, default=[2, 3, 4], metavar="S", help="reduced and restored by"
    )
    part.set_defaults(frames=11, crop=(288, 512))

    part = commands.add_parser("interlaced", help="what whole frames are worth", formatter_class=defaults)
    add_shots(part)
    part.set_defaults(frames=24, crop=(288, 512))

    part = commands.add_parser("footage", help="compressed frames, with and without cleaning", formatter_class=defaults)
    part.add_argument(
        "--clips", nargs="+", default=list(SAMPLE_CLIPS), metavar="CLIP", help="sample clips, or videos and folders"
    )
    part.add_argument("--crop", type=_size, default=(288, 512), metavar="HxW", help="HR crop at the top left")
    part.add_argument("--start", type=int, default=30, metavar="N", help="first frame of each clip")
    part.add_argument("--frames", type=int, default=15, metavar="N", help="frames of each clip")
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
    part.add_argument("--picture", type=Path, metavar="PNG", help="draw what is gained over bicubic enlargement")

    part = commands.add_parser("data", help="loading of training samples", formatter_class=defaults)
    part.add_argument("--contenders", nargs="+", choices=data.CONTENDERS, default=list(data.CONTENDERS))
    part.add_argument("--size", type=_size, default=data.Workload.size, metavar="HxW", help="of ground truth")
    part.add_argument("--clips", type=int, default=data.Workload.clips, metavar="N", help="clips to load from")
    part.add_argument("--clip-frames", type=int, default=data.Workload.clip_frames, metavar="N", help="length of each")
    part.add_argument("--frames", type=int, default=data.Workload.frames, metavar="N", help="length of a sample")
    part.add_argument("--gt-size", type=int, default=data.Workload.gt_size, metavar="N", help="side of its crop")
    part.add_argument("--repetitions", type=int, default=20, metavar="N", help="samples with a warm page cache")
    part.add_argument("--cold", type=int, default=5, metavar="N", help="samples with everything out of the page cache")
    part.add_argument("--folder", type=Path, help="where the data are made for the time being (default: system's)")
    part.add_argument("--json", type=Path, metavar="PATH", help="write all figures to this file")

    part = commands.add_parser(
        "cluster", help="use of a Ray cluster's workers, with stand-ins for the network", formatter_class=defaults
    )
    part.add_argument("--workers", nargs="+", type=positive, default=[1, 2, 4, 8], metavar="N", help="at a time")
    part.add_argument("--tasks", type=positive, default=64, metavar="N", help="of one length")
    part.add_argument("--seconds", type=float, default=1.0, metavar="S", help="that length")
    part.add_argument("--shots", type=positive, default=2000, metavar="N", help="of a film with a few long shots")
    part.add_argument("--shot-seconds", type=float, default=0.3, metavar="S", help="for each of them, on average")
    part.add_argument("--back", type=memory_size, default="2M", metavar="SIZE", help="of an encoded segment")
    return parser.parse_args(arguments)


def run_speed(args: argparse.Namespace) -> None:
    setting = read_setting(args)
    sizes = [None] if args.usual_crops else args.sizes
    cases = [speed.Case(c, t, size) for c in args.clips for size in sizes for t in args.frames]
    machine = describe_machine(setting.device, setting.threads)
    warm_up = f"{5 if setting.model == 'iconvsr' else 2} frames"
    if setting.device != "cpu":
        warm_up = "the whole sequence twice"
    protocol = (
        f"each contender in a process of its own, all held ready and run in turn; {warm_up} to warm up, then "
        f"{args.repetitions} repetitions of the whole sequence, no gradients"
        + (", synchronised before and after" if setting.device != "cpu" else "")
        + "; median and spread of seconds per frame; memory: highest beyond what was in use before the first run"
    )
    print(*(f"{key}: {value}" for key, value in machine.items()), f"model: {setting.model}", sep="\n")
    print(f"protocol: {protocol}")
    contenders = choose_contenders(args, USUAL, setting.device)
    results = speed.measure(
        contenders, cases, setting, args.repetitions, report=lambda line: print(line, file=sys.stderr)
    )
    print(speed.table(results))
    if args.json:
        args.json.write_text(as_json(results, machine, setting, protocol))


def run_train(args: argparse.Namespace) -> None:
    setting = training.TrainSetting(
        args.model, read_device(args), args.threads, args.batch, args.frames, args.patch, args.mid_channels,
        args.num_blocks,
    )  # fmt: skip
    machine = describe_machine(setting.device, setting.threads)
    protocol = training.protocol(setting, args.repetitions)
    print(*(f"{key}: {value}" for key, value in machine.items()), f"model: {setting}", sep="\n")
    print(f"protocol: {protocol}")
    contenders = choose_contenders(args, training.USUAL, setting.device)
    results = training.measure(contenders, setting, args.repetitions, report=lambda line: print(line, file=sys.stderr))
    print(training.table(results))
    if args.json:
        args.json.write_text(as_json(results, machine, setting, protocol))


@torch.no_grad()
def run_profile(args: argparse.Namespace) -> None:
    setting = read_setting(args)
    if setting.threads:
        torch.set_num_threads(setting.threads)
    print(*(f"{key}: {value}" for key, value in describe_machine(setting.device, setting.threads).items()), sep="\n")
    lrs = load_sequence("bigbuckbunny", args.frames, args.size).lrs.to(setting.device)
    work = profiling.count_work(plain_net(setting), lrs)
    net = build(args.contender, setting)
    dtype = PRECISIONS.get(args.contender, torch.float32)
    peaks = [profiling.arithmetic_peak(lrs.device, dtype)]
    shares = profiling.profile(net, lrs, work, args.repetitions)
    peaks.append(profiling.arithmetic_peak(lrs.device, dtype))
    print(f"{setting.model}, {args.contender}, {args.size[0]}x{args.size[1]}, {args.frames} frames\n")
    print(profiling.table(shares, max(peaks)))


def run_film(args: argparse.Namespace) -> None:
    device = read_device(args)
    setting = film.FilmSetting(
        args.frames, args.weights, args.precision, Encoding(codec=args.codec, preset=args.preset)
    )  # fmt: skip
    machine = describe_machine(device, threads=0)
    print(*(f"{key}: {value}" for key, value in machine.items()), f"setting: {setting}\n", sep="\n")
    net = load_net(args.weights, device=device)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        costs = [
            film.measure_film(net, setting, size, Path(folder), lambda line: print(line, file=sys.stderr))
            for size in args.sizes
        ]
    print(film.table(costs))
    if args.json:
        args.json.write_text(as_json(costs, machine, setting, "one run of each, after one of 8 frames"))


def run_cluster(args: argparse.Namespace) -> None:
    from vsr_plugin.benchmarks import cluster  # which needs Ray

    machine = describe_machine("cpu", threads=0)
    print(*(f"{key}: {value}" for key, value in machine.items()), "", sep="\n")
    load = cluster.Load(args.tasks, args.seconds, args.shots, args.shot_seconds, args.back)
    uses = list(cluster.measure(args.workers, load, lambda line: print(line, file=sys.stderr)))
    print(cluster.table(uses))


def run_gpu_report(args: argparse.Namespace) -> int:
    if not torch.cuda.is_available():
        raise VSRError("gpu-report: no GPU that PyTorch can use; `vsr-plugin env` says why")
    chosen = {name: gpu_report.PARTS[name] for name in args.parts}
    done = gpu_report.run_parts(chosen, args.folder, 60 * args.minutes, partial(print, flush=True))
    failed = [part.name for part in done if part.status != 0]
    print(f"{args.folder}: {len(done)} of {len(chosen)} parts, {len(failed)} failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def run_windows(args: argparse.Namespace) -> None:
    net = with_forgetting(load_net(args.weights), args.forgetting)
    print(f"weights: {args.weights}, forgetting {args.forgetting:g}")
    print("PSNR in dB on the Y channel, per frame, less that of the whole sequence")
    for clip in args.clips:
        gt = load_gt(clip, args.frames, *args.crop, net.scale)
        whole, costs = measure_windows(net, gt, args.settings)
        print(f"{clip}, {len(gt)} frames of {gt[0].shape[1]}x{gt[0].shape[0]}: whole sequence {whole:.3f} dB")
        for cost in costs:
            print(f"  {cost}", flush=True)


def run_drift(args: argparse.Namespace) -> None:
    net = load_net(args.weights)
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
        for line in drift.table(drift.measure_drift(net, gt, args.rates, args.strategies), args.stretch):
            print(line, flush=True)


def run_sizes(args: argparse.Namespace) -> None:
    net = load_net(args.weights)
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
    net = load_net(args.weights)
    print(f"weights: {args.weights}, x{net.scale}; PSNR in dB on the Y channel, means over frames\n")

    def rows() -> Iterator[list[str]]:
        for clip in args.clips:
            gt = load_gt(clip, args.frames, *args.crop, net.scale)
            for name, bicubic, restored in measure_interlaced(net, gt[: len(gt) // 4 * 4]):
                yield [clip, name, f"{bicubic:.2f}", f"{restored:.2f}"]

    for line in table_lines(["clip", "--deinterlace", "bicubic", "restored"], rows()):
        print(line, flush=True)


def run_footage(args: argparse.Namespace) -> None:
    codings = [footage.Coding.parse(text) for text in args.codings]
    check_metrics([name for name in args.metrics if name != "vmaf"])
    if "vmaf" in args.metrics:
        vmaf.check_vmaf()
    if args.as_it_is and (args.metrics or args.picture):
        raise VSRError("--as-it-is measures NIQE alone, since there is no truth; leave --metrics and --picture out")
    net = load_net(args.weights)
    ways = {"plain": net, "cleaned": clean_by(net, args.clean)}
    methods = {name: partial(restore_frames, way, num_frames=args.frames) for name, way in ways.items()}
    print(f"weights: {args.weights}, x{net.scale}; means over {args.frames} frames from frame {args.start} on\n")
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
        print(vmaf.DEFINITION)
    if args.picture:
        footage.draw_gains(scores, args.picture)


def run_data(args: argparse.Namespace) -> None:
    workload = data.Workload(args.clips, args.clip_frames, args.size, args.frames, args.gt_size)
    machine = describe_machine("cpu", threads=1)
    repetitions = {cache: n for cache, n in (("warm", args.repetitions), ("cold", args.cold)) if n}
    protocol = data.protocol(workload, repetitions)
    print(*(f"{key}: {value}" for key, value in machine.items()), f"protocol: {protocol}\n", sep="\n")

    def report(line: str) -> None:
        print(line, file=sys.stderr)

    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        report("making the data")
        data.make_data(Path(folder), workload)
        results = data.measure(args.contenders, Path(folder), workload, repetitions, report)
    print(data.table(results))
    if args.json:
        args.json.write_text(as_json(results, machine, workload, protocol))


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int | None:
    args = parse_args(arguments, prog)
    commands = dict(
        speed=run_speed, train=run_train, profile=run_profile, windows=run_windows, drift=run_drift, sizes=run_sizes,
        interlaced=run_interlaced, footage=run_footage, data=run_data, film=run_film, cluster=run_cluster,
        **{"gpu-report": run_gpu_report},
    )  # fmt: skip
    return commands[args.command](args)
