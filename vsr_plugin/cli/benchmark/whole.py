"""What ours takes: a network by its components, a whole restoration, a cluster, all that a GPU is to be asked."""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch

from vsr_plugin.acceleration.precision import PRECISIONS
from vsr_plugin.benchmarks import film, gpu_report, profiling
from vsr_plugin.benchmarks.implementations import build, plain_net
from vsr_plugin.benchmarks.inputs import load_sequence
from vsr_plugin.benchmarks.machine import as_json, describe_machine
from vsr_plugin.cli.benchmark.arguments import add_setting, add_weights, read_device, read_setting
from vsr_plugin.defaults import USUAL_WEIGHTS
from vsr_plugin.errors import VSRError
from vsr_plugin.media import Encoding
from vsr_plugin.models.vsr_net import load_restorer
from vsr_plugin.settings import memory_size, positive, size


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add them to the command."""
    part = commands.add_parser("profile", help="time and GFLOP/s of each component")
    part.add_argument("--implementation", "--contender", choices=["plain", *PRECISIONS], default="fp32")
    part.add_argument("--size", type=size, default=(180, 320), metavar="HxW")
    part.add_argument("--frames", type=positive, default=8)
    part.add_argument("--repetitions", type=positive, default=3)
    add_setting(part)
    add_weights(part)
    part.set_defaults(run=run_profile)

    part = commands.add_parser("film", help="a whole restoration, file to file, and its parts")
    part.add_argument(
        "--sizes", nargs="+", type=size, default=[(360, 640), (480, 720), (720, 1280)], metavar="HxW",
        help="of the input, even",
    )  # fmt: skip
    part.add_argument("--frames", type=positive, default=1000, metavar="N", help="length of the film")
    part.add_argument("--weights", default=USUAL_WEIGHTS, help="published name or path")
    part.add_argument("--precision", choices=tuple(PRECISIONS), default="fp32", help="of the network")
    part.add_argument("--device", default="auto", help="cpu, cuda, or auto for a GPU if there is one")
    part.add_argument("--folder", type=Path, help="where input and output are for the time being (default: system's)")
    part.add_argument("--json", type=Path, metavar="PATH", help="write all figures to this file")
    part.add_argument("--codec", default=Encoding.codec, help="FFmpeg encoder of the result, such as hevc_nvenc")
    part.add_argument("--preset", help="its speed against size, such as ultrafast")
    part.set_defaults(run=run_film)

    part = commands.add_parser("gpu-report", help="all figures of a GPU by one call")
    part.add_argument("folder", type=Path, help="takes report.md and report.json, after every part")
    part.add_argument("--parts", nargs="+", choices=gpu_report.PARTS, default=list(gpu_report.PARTS), metavar="PART")
    part.add_argument("--minutes", type=float, default=60.0, metavar="N", help="for all of them")
    part.set_defaults(run=run_gpu_report)

    part = commands.add_parser("cluster", help="use of a Ray cluster's workers, with stand-ins for the network")
    part.add_argument("--workers", nargs="+", type=positive, default=[1, 2, 4, 8], metavar="N", help="at a time")
    part.add_argument("--tasks", type=positive, default=64, metavar="N", help="of one length")
    part.add_argument("--seconds", type=float, default=1.0, metavar="S", help="that length")
    part.add_argument("--shots", type=positive, default=2000, metavar="N", help="of a film with a few long shots")
    part.add_argument("--shot-seconds", type=float, default=0.3, metavar="S", help="for each of them, on average")
    part.add_argument("--back", type=memory_size, default="2M", metavar="SIZE", help="of an encoded segment")
    part.add_argument(
        "--clips", nargs="+", metavar="CLIP",
        help="restore sample clips or videos instead, and say what goes over the network",
    )  # fmt: skip
    part.set_defaults(run=run_cluster)


@torch.no_grad()
def run_profile(args: argparse.Namespace) -> None:
    setting = read_setting(args)
    if setting.threads:
        torch.set_num_threads(setting.threads)
    print(*(f"{key}: {value}" for key, value in describe_machine(setting.device, setting.threads).items()), sep="\n")
    lrs = load_sequence("bigbuckbunny", args.frames, args.size).lrs.to(setting.device)
    work = profiling.count_work(plain_net(setting), lrs)
    net = build(args.implementation, setting)
    dtype = PRECISIONS.get(args.implementation, torch.float32)
    peaks = [profiling.arithmetic_peak(lrs.device, dtype)]
    shares = profiling.profile(net, lrs, work, args.repetitions)
    peaks.append(profiling.arithmetic_peak(lrs.device, dtype))
    print(f"{setting.model}, {args.implementation}, {args.size[0]}x{args.size[1]}, {args.frames} frames\n")
    print(profiling.table(shares, max(peaks)))


def run_film(args: argparse.Namespace) -> None:
    device = read_device(args)
    setting = film.FilmSetting(
        args.frames, args.weights, args.precision, Encoding(codec=args.codec, preset=args.preset)
    )  # fmt: skip
    machine = describe_machine(device, threads=0)
    print(*(f"{key}: {value}" for key, value in machine.items()), f"setting: {setting}\n", sep="\n")
    if odd := next((sides for sides in args.sizes if any(side % 2 for side in sides)), None):
        raise VSRError(f"--sizes {odd[0]}x{odd[1]}: the film is 4:2:0 video; use even sides")
    net = load_restorer(args.weights, device=device)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        costs = [
            film.measure_film(net, setting, size, Path(folder), lambda line: print(line, file=sys.stderr))
            for size in args.sizes
        ]
    print(film.table(costs))
    if args.json:
        args.json.write_text(as_json(costs, machine, setting, "one run of each, after one of 8 frames"))


def run_gpu_report(args: argparse.Namespace) -> int:
    if not torch.cuda.is_available():
        raise VSRError("gpu-report: no GPU that PyTorch can use; `vsr-plugin env` says why")
    chosen = {name: gpu_report.PARTS[name] for name in args.parts}
    done = gpu_report.run_parts(chosen, args.folder, 60 * args.minutes, partial(print, flush=True))
    failed = [part.name for part in done if part.status != 0]
    print(f"{args.folder}: {len(done)} of {len(chosen)} parts, {len(failed)} failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def run_cluster(args: argparse.Namespace) -> None:
    from vsr_plugin.benchmarks import cluster  # which needs Ray

    machine = describe_machine("cpu", threads=0)
    print(*(f"{key}: {value}" for key, value in machine.items()), "", sep="\n")
    report = partial(print, file=sys.stderr)
    if args.clips:
        print(cluster.traffic_table(list(cluster.measure_traffic(args.clips, report))))
        return
    load = cluster.Load(args.tasks, args.seconds, args.shots, args.shot_seconds, args.back)
    uses = list(cluster.measure(args.workers, load, report))
    print(cluster.table(uses))
