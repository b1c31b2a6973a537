"""Ours beside MMagic: speed of the networks, of a training step, of loading samples."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from vsr_plugin.benchmarks import data, speed, training
from vsr_plugin.benchmarks.implementations import IMPLEMENTATIONS, USUAL, computable
from vsr_plugin.benchmarks.machine import as_json, describe_machine
from vsr_plugin.cli.benchmark.arguments import add_setting, add_weights, read_device, read_setting
from vsr_plugin.data.sample_clips import SAMPLE_CLIPS
from vsr_plugin.settings import size


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add them to the command."""
    part = commands.add_parser("speed", help="speed, memory and PSNR, implementations in turn")
    part.add_argument(
        "--implementations", nargs="+", choices=IMPLEMENTATIONS, default=argparse.SUPPRESS,
        help="(default: mmagic fp32, and int16 and bf16 where the device computes in them)",
    )  # fmt: skip
    part.add_argument("--clips", nargs="+", choices=SAMPLE_CLIPS, default=["bigbuckbunny"])
    part.add_argument(
        "--sizes", nargs="+", type=size, default=[(180, 320)], metavar="HxW",
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
    part.set_defaults(run=run_speed)

    part = commands.add_parser("train", help="time and memory of a training step")
    part.add_argument(
        "--implementations", nargs="+", choices=training.IMPLEMENTATIONS, default=argparse.SUPPRESS,
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
    add_setting(part, training.MODELS)
    part.set_defaults(run=run_train)

    part = commands.add_parser("data", help="loading of training samples")
    part.add_argument("--implementations", nargs="+", choices=data.IMPLEMENTATIONS, default=list(data.IMPLEMENTATIONS))
    part.add_argument("--size", type=size, default=data.Workload.size, metavar="HxW", help="of ground truth")
    part.add_argument("--clips", type=int, default=data.Workload.clips, metavar="N", help="clips to load from")
    part.add_argument("--clip-frames", type=int, default=data.Workload.clip_frames, metavar="N", help="length of each")
    part.add_argument("--frames", type=int, default=data.Workload.frames, metavar="N", help="length of a sample")
    part.add_argument("--gt-size", type=int, default=data.Workload.gt_size, metavar="N", help="side of its crop")
    part.add_argument("--repetitions", type=int, default=20, metavar="N", help="samples with a warm page cache")
    part.add_argument("--cold", type=int, default=5, metavar="N", help="samples with everything out of the page cache")
    part.add_argument("--folder", type=Path, help="where the data are made for the time being (default: system's)")
    part.add_argument("--json", type=Path, metavar="PATH", help="write all figures to this file")
    part.set_defaults(run=run_data)


def choose_implementations(args: argparse.Namespace, usual: dict[str, str], device: str) -> list[str]:
    implementations, left_out = (args.implementations, []) if "implementations" in args else computable(usual, device)
    print(*left_out, "", sep="\n", flush=True)
    return implementations


def run_speed(args: argparse.Namespace) -> None:
    setting = read_setting(args)
    sizes = [None] if args.usual_crops else args.sizes
    cases = [speed.Case(c, t, size) for c in args.clips for size in sizes for t in args.frames]
    machine = describe_machine(setting.device, setting.threads)
    warm_up = f"{5 if setting.model == 'iconvsr' else 2} frames"
    if setting.device != "cpu":
        warm_up = "the whole sequence twice"
    protocol = (
        f"each implementation in a process of its own, all held ready and run in turn; {warm_up} to warm up, then "
        f"{args.repetitions} repetitions of the whole sequence, no gradients"
        + (", synchronised before and after" if setting.device != "cpu" else "")
        + "; median and spread of seconds per frame; memory: highest beyond what was in use before the first run"
    )
    print(*(f"{key}: {value}" for key, value in machine.items()), f"model: {setting.model}", sep="\n")
    print(f"protocol: {protocol}")
    implementations = choose_implementations(args, USUAL, setting.device)
    results = speed.measure(
        implementations, cases, setting, args.repetitions, report=lambda line: print(line, file=sys.stderr)
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
    implementations = choose_implementations(args, training.USUAL, setting.device)
    results = training.measure(
        implementations, setting, args.repetitions, report=lambda line: print(line, file=sys.stderr)
    )
    print(training.table(results))
    if args.json:
        args.json.write_text(as_json(results, machine, setting, protocol))


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
        results = data.measure(args.implementations, Path(folder), workload, repetitions, report)
    print(data.table(results))
    if args.json:
        args.json.write_text(as_json(results, machine, workload, protocol))
