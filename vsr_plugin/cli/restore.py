"""Upscale videos or folders of images with BasicVSR, IconVSR, BasicVSR++ or RealBasicVSR, x4 or to another size."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event
from typing import TYPE_CHECKING

from vsr_plugin.cli.command import HelpFormatter, print_error
from vsr_plugin.defaults import PROGRESS, USUAL_WEIGHTS
from vsr_plugin.errors import VSRError, give_hint
from vsr_plugin.restoration.options import SPEED, ClusterOptions, RestoreOptions, check_cluster, expected_frames
from vsr_plugin.settings import add_settings, from_arguments, natural

# What computes is imported by what uses it, since PyTorch takes a second, and the help needs none.
if TYPE_CHECKING:
    import torch

    from vsr_plugin.models.vsr_net import VSRNet
    from vsr_plugin.progress import SeveralProgress
    from vsr_plugin.restoration import RestoreResult
    from vsr_plugin.restoration.executors import Executor


#: What ``--preview`` is where it is given no moment.
MIDDLE = -1.0


def moment(text: str) -> float:
    """Seconds of ``'90'``, ``'1:30'`` or ``'0:01:30.5'``."""
    parts = [float(part) for part in text.split(":")]
    if len(parts) > 3 or not all(0 <= part < math.inf for part in parts):
        raise ValueError(text)
    return sum(part * 60**power for power, part in enumerate(reversed(parts)))


moment.__name__ = "time (seconds, or h:mm:ss; write --preview=TIME, or put --preview last)"


def parse_args(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument(
        "inputs", nargs="+", metavar="input", help="video file, folder of images or of videos, or one image"
    )
    parser.add_argument(
        "output",
        help="video file (.mp4 .mkv .mov .avi .webm .m4v), or folder for PNG files, or a .png of one image; of several "
        "inputs a folder",
    )
    parser.add_argument("--weights", default=USUAL_WEIGHTS, help="published name, or path of a checkpoint")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--device", default="auto", help="cpu, cuda, cuda:N, or auto for a GPU if there is one")
    where.add_argument(
        "--devices",
        metavar="D,D,...",
        help="several devices, with a process for each, such as cuda:0,cuda:1, all for all GPUs, or cpu,cpu, which "
        "share the processor out; shots (--strategy window: windows) are handed to each as it becomes free",
    )
    first = parser.add_argument_group("before the long work")
    first = first.add_mutually_exclusive_group()
    first.add_argument(
        "--preview",
        nargs="?",
        const=MIDDLE,
        type=moment,
        metavar="TIME",
        help="restore one frame only, and write it beside bicubic enlargement as OUTPUT_preview.png, with what "
        "--estimate says: seconds or h:mm:ss of a video, the number of an image (default: the middle)",
    )
    first.add_argument(
        "--estimate",
        action="store_true",
        help="say what is known of the input, and about how much time, disk and memory all of it will take; writes "
        "nothing",
    )
    add_settings(parser, ClusterOptions)
    groups = add_settings(parser, RestoreOptions)
    groups[SPEED].add_argument(
        "--keyframe-stride",
        type=natural,
        metavar="N",
        help="IconVSR: every N-th frame is a keyframe, 0 for none; fewer are faster and cost quality (default: 5)",
    )
    parser.add_argument(
        "--progress",
        choices=PROGRESS,
        default="bar",
        help="how progress is shown: a bar, or for programs a line of JSON about twice a second on standard output",
    )
    args = parser.parse_args(arguments)
    check_cluster(parser, args, "device", "devices")
    if args.cluster and (args.preview is not None or args.estimate):
        parser.error("argument --cluster: --preview and --estimate are done by this machine; leave it out of them")
    return args


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    args = parse_args(arguments, prog)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        if os.environ.get("RANK", "0") != "0":
            return 1  # one line is enough for all
        raise VSRError(
            "restoring is not started by torchrun (WORLD_SIZE is set); one command starts a process for each GPU: "
            "--devices all, or --devices cuda:0,cuda:1"
        )
    from vsr_plugin.restoration.executors import ThisProcess, WorkerProcesses

    devices = pick_devices(args.devices or ("cpu" if args.cluster else args.device))
    if args.cluster:
        from vsr_plugin.restoration.cluster import OnCluster

        with OnCluster(from_arguments(ClusterOptions, args)) as executor:
            return run(args, devices, executor)
    with WorkerProcesses(devices) if len(devices) > 1 else ThisProcess() as executor:
        return run(args, devices, executor)


def pick_devices(names: str) -> list[torch.device]:
    """The devices of ``--devices``, or of ``--device``.

    Raises:
        VSRError: one of them is not here.
    """
    import torch

    from vsr_plugin.ops.device import pick_device

    if names == "all":
        names = ",".join(f"cuda:{i}" for i in range(torch.cuda.device_count()))
        if not names:
            raise VSRError("--devices all: there is no GPU here; use --devices cpu,cpu for two processes without")
    return [pick_device(name.strip()) for name in names.split(",")]


def run(args: argparse.Namespace, devices: list[torch.device], executor: Executor) -> int:
    from tqdm import tqdm

    from vsr_plugin.models.iconvsr_net import IconVSRNet
    from vsr_plugin.models.vsr_net import load_restorer
    from vsr_plugin.ops.device import FreeCores, take_free_threads
    from vsr_plugin.progress import SeveralProgress
    from vsr_plugin.restoration.outputs import is_done, pair_outputs, with_videos_of_folders

    cores = FreeCores()
    options = from_arguments(RestoreOptions, args)
    inputs = with_videos_of_folders(args.inputs)
    pairs = pair_outputs(inputs, args.output, of_folder=inputs != args.inputs, make=not args.estimate)
    if len(pairs) > 1 and (args.gt or args.comparison):
        raise VSRError("--gt and --comparison are for one input; do the inputs apart")
    stride = {} if args.keyframe_stride is None else dict(keyframe_stride=args.keyframe_stride or None)
    net = load_restorer(args.weights, device=devices[0], **stride)
    if stride and not isinstance(net, IconVSRNet):
        raise VSRError(f"--keyframe-stride: {args.weights} are weights of {type(net).__name__}, which has no keyframes")
    # A job that is gone on with keeps its number.
    if devices[0].type == "cpu" and not args.cluster and (line := take_free_threads(cores.count())):
        print(f"note: {line}")
    where = str(executor) if args.cluster else ", ".join(map(str, devices))
    if args.preview is not None or args.estimate:
        return show_beforehand(pairs, args, options, net, where, executor)
    if len(pairs) == 1 and inputs == args.inputs:
        restore_one(*pairs[0], args, options, net, where, executor)
        return 0

    def restore(pair: tuple[str, str]) -> bool:
        """Whether it was restored, or was so before."""
        input_path, output_path = pair
        if args.resume and is_done(output_path):
            tqdm.write(f"{output_path}: is there already")
            total.leave_out(input_path)
            return True
        try:
            restore_one(input_path, output_path, args, options, net, where, executor, total)
        except VSRError as error:
            # A night's work must not end with the first file that is damaged.
            total.leave_out(input_path)
            if not stopping.is_set():
                with tqdm.external_write_mode(sys.stderr):
                    print_error(error)
            return False
        return True

    stopping = Event()
    with ThreadPoolExecutor(executor.inputs) as threads, SeveralProgress(len(pairs)) as total:
        try:
            done = list(threads.map(restore, pairs)) if executor.inputs > 1 else list(map(restore, pairs))
        except BaseException as error:
            stopping.set()
            threads.shutdown(wait=False, cancel_futures=True)
            if executor.inputs > 1:
                executor.close()
                give_hint(error, "what is done is kept: --resume goes on from there")
            raise
    return status_of([path for (path, _), is_there in zip(pairs, done, strict=True) if not is_there], len(pairs))


def status_of(failed: Sequence[str], count: int) -> int:
    """The exit status where so many inputs were to be done, of which some have failed, and a line that names these."""
    if failed:
        print(f"error: {len(failed)} of {count} inputs failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def show_beforehand(
    pairs: Sequence[tuple[str, str]],
    args: argparse.Namespace,
    options: RestoreOptions,
    net: VSRNet,
    where: str,
    executor: Executor,
) -> int:
    """Print what is known of each input and what the whole will take, and write a picture if one is asked for.

    Returns:
        The exit status: of several inputs one that cannot be restored does not end the others.
    """
    from vsr_plugin.restoration.preview import in_hours

    if options.gt is not None or options.comparison is not None:
        raise VSRError("--gt and --comparison are of the whole; leave them out with --preview and --estimate")
    if len(pairs) == 1:
        show_one(*pairs[0], args, options, net, where, executor)
        return 0
    total, failed = 0.0, []
    for pair in pairs:
        try:
            total += show_one(*pair, args, options, net, where, executor, one_of_several=True)
        except VSRError as error:
            print_error(error)
            failed.append(pair[0])
    which = f"{len(pairs) - len(failed)} of {len(pairs)}" if failed else f"all {len(pairs)}"
    print(f"{which} inputs: about {in_hours(total)}")
    return status_of(failed, len(pairs))


def show_one(
    input_path: str,
    output_path: str,
    args: argparse.Namespace,
    options: RestoreOptions,
    net: VSRNet,
    where: str,
    executor: Executor,
    *,
    one_of_several: bool = False,
) -> float:
    """As :func:`show_beforehand`, for one input; returns how many seconds it will take, as far as it tells."""
    from vsr_plugin.files import PartialFile, write_whole
    from vsr_plugin.progress import frame_progress
    from vsr_plugin.restoration.outputs import preview_path
    from vsr_plugin.restoration.preview import FRAMES, preview
    from vsr_plugin.visualization.comparison import comparison_picture

    picture = preview_path(output_path, one_of_several=one_of_several)
    if args.preview is not None:
        PartialFile(picture, overwrite=args.overwrite).discard()  # whether it can be written is known first
    moment = None if args.preview in (None, MIDDLE) else args.preview
    with frame_progress(FRAMES) as bar:
        shown = preview(input_path, output_path, net, options, moment, progress=bar.update)
    for line in shown.lines:
        print(line)
    workers = executor.workers
    shared = f", and about 1/{workers} of the time with {workers} workers" if workers > 1 else ""
    print(f"estimate: {shown.estimate}{shared}, {type(net).__name__} ({args.weights}) on {where}")
    if args.preview is not None:
        versions = {"bicubic": shown.enlarged, "restored": shown.restored}
        write_whole(picture, comparison_picture(versions, main="restored").save, overwrite=args.overwrite)
        print(f"preview of {shown.where}: {picture}")
    return shown.estimate.seconds or 0.0


def restore_one(
    input_path: str,
    output_path: str,
    args: argparse.Namespace,
    options: RestoreOptions,
    net: VSRNet,
    where: str,
    executor: Executor,
    total: SeveralProgress | None = None,
) -> None:
    """Restore an input and print what a person wants to know.

    Args:
        input_path: the input.
        output_path: its output.
        args: of the command.
        options: that these make.
        net: the network.
        where: the devices, in words.
        executor: runs the work.
        total: progress of all inputs, where there are several.
    """
    from tqdm import tqdm

    from vsr_plugin.progress import frame_progress, print_record
    from vsr_plugin.restoration import restore_video

    with ExitStack() as stack:
        bars = []

        def on_open(source) -> None:
            shown = source.orientation.size
            sizes = [(source.height, source.width), options.output_size.of_source(source, net.scale)]
            (h, w), (height, width) = (shown(*size) for size in sizes)
            tqdm.write(f"{input_path}: {w}x{h} -> {width}x{height}, {type(net).__name__} ({args.weights}) on {where}")
            expected = expected_frames(source, options)
            name = None if total is None else os.path.basename(input_path)
            bars.append(stack.enter_context(frame_progress(expected, args.progress, name)))
            if total is not None:
                total.expect(input_path, expected)

        def progress(count: float) -> None:
            for bar in bars:
                bar.update(count)
            if total is not None:
                total.update(input_path, count)

        reported = []

        def on_note(line: str) -> None:
            reported.append(line)
            whose = "" if total is None else f"{output_path}: "
            tqdm.write(f"note: {whose}{line}")

        result = restore_video(
            input_path,
            output_path,
            net,
            options,
            on_open=on_open,
            progress=progress,
            on_note=on_note,
            executor=executor,
        )
    report(result, reported, output_path, options)
    if args.progress == "json":
        print_record(output=output_path, frames=result.num_frames)


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
