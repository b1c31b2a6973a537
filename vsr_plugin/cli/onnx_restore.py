"""Restore a clip with an exported model, without PyTorch and MMagic.

MODEL is a file of tools/export_onnx.py, which holds the whole sequence or a --window of it in memory at once, or a
folder of its --parts, for which memory does not grow with the length. INPUT is a video, a folder of images or an image,
OUTPUT a video or a folder for PNG files. Timestamps, sound, rotation, shape of pixels, colour and depth are carried
over as by tools/restore_video.py, which also restarts at scene cuts and restores in tiles.
Needs onnxruntime, numpy, av, pillow, OpenCV and the folder vsr_plugin of this checkout; tqdm shows the progress.
"""

import argparse
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from vsr_plugin.defaults import OVERLAP
from vsr_plugin.errors import VSRError
from vsr_plugin.settings import natural, positive, rate

DISTRIBUTIONS = {"onnxruntime": "-r requirements/export.txt", "PIL": "pillow", "cv2": "opencv-python-headless"}


def explain_absence(error: ImportError) -> str:
    """What is missing and how to get it, in one line."""
    name = (error.name or "that it needs").partition(".")[0]
    what = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported ({error})"
    return f"the package {name} {what}; pip install {DISTRIBUTIONS.get(name, name)}"


def parse_args(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--threads", type=natural, default=0, help="threads of onnxruntime; 0 for its own choice")
    parser.add_argument("--start", type=natural, default=0, metavar="N", help="first frame, counted from 0")
    parser.add_argument("--num-frames", type=positive, metavar="N", help="number of frames (default: to the end)")
    parser.add_argument(
        "--window", type=positive, metavar="N",
        help="restore so many frames at once, in windows that fade into each other (default: the whole sequence)",
    )  # fmt: skip
    parser.add_argument(
        "--overlap", type=natural, default=OVERLAP, metavar="N",
        help=f"frames that a window reads beyond each end (default: {OVERLAP})",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace an output that exists")
    parser.add_argument("--codec", help="FFmpeg video encoder (default: libx264; libvpx-vp9 for .webm)")
    parser.add_argument("--no-audio", action="store_true", help="leave the sound out")
    parser.add_argument(
        "--deinterlace", default="auto", choices=("auto", "on", "fields", "film", "off"),
        help="make whole frames of interlaced video, as in restore_video.py (default: where the video says that it is)",
    )  # fmt: skip
    parser.add_argument(
        "--fps", type=rate, metavar="R", help="frame rate for a folder of images, e.g. 30000/1001 (default: 25)"
    )
    return parser.parse_args(arguments)


def restore(args: argparse.Namespace) -> None:
    """Restore the input into the output and print what a person wants to know."""
    # Not at the top, so that --help works on a machine that is not prepared yet.
    try:
        from vsr_plugin.export import onnx_restorer
        from vsr_plugin.media import Encoding, open_sink, open_source
    except ImportError as error:
        raise VSRError(explain_absence(error)) from error

    model = onnx_restorer.load_model(args.model, args.threads)
    codec = args.codec or ("libvpx-vp9" if args.output.lower().endswith(".webm") else "libx264")
    encoding = Encoding(codec=codec, audio=not args.no_audio, frame_rate=args.fps)
    with open_source(args.input, deinterlace=args.deinterlace, frame_rate=args.fps) as source, ExitStack() as bars:
        # Open before the long work: what is wrong with the output is said at once.
        part = dict(start=args.start, num_frames=args.num_frames)
        options = dict(scale=model.scale, overwrite=args.overwrite, encoding=encoding)
        with open_sink(args.output, source, **options, **part) as sink:
            windows = dict(window=args.window, overlap=args.overlap)
            frames = onnx_restorer.restore_clip(model, source, sink, **windows, **part, bar=_bar(bars))
        bars.close()
        for note in (*source.notes, *sink.notes):
            print(f"note: {note}")
    print(f"{args.output}: {frames} frames")


def _bar(stack: ExitStack) -> Callable[[int], Callable[[float], object]] | None:
    try:
        from vsr_plugin.progress import frame_progress
    except ImportError:  # without tqdm
        return None
    return lambda total: stack.enter_context(frame_progress(total)).update


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = parse_args(arguments, prog)
    try:
        restore(args)
    except MemoryError as error:
        raise VSRError("out of memory; use --window, or take a folder of export_onnx.py --parts") from error
