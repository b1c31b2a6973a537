"""Degrade a real clip, restore it with official weights, and show the difference; ``make demo`` runs this."""

import argparse
import copy
import json
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from vsr_plugin.cli.command import HelpFormatter, run_command
from vsr_plugin.data.sample_clips import SAMPLE_CLIPS, sample_clip
from vsr_plugin.media import Encoding, open_sink, open_source
from vsr_plugin.models.vsr_net import load_restorer
from vsr_plugin.ops.device import pick_device
from vsr_plugin.ops.resize import bicubic_downsample
from vsr_plugin.progress import frame_progress
from vsr_plugin.restoration import RestoreOptions, restore_video

LOSSLESS = Encoding(codec="ffv1")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--clip", choices=SAMPLE_CLIPS, default="bigbuckbunny", help="clip that plays the ground truth")
    parser.add_argument("--start", type=int, default=20, metavar="N", help="first frame")
    parser.add_argument("--num-frames", type=int, default=15, metavar="N", help="number of frames")
    parser.add_argument("--weights", default="basicvsr_reds4", help="published name, or path of a checkpoint")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N, or auto for a GPU if there is one")
    parser.add_argument("--out-dir", type=Path, default=Path("work_dirs/demo"), help="folder for the results")
    return parser.parse_args()


def make_clips(clip: Path, start: int, num_frames: int, gt_path: Path, lr_path: Path, scale: int) -> None:
    """Cut the ground truth out of a clip and degrade it (BI), both as lossless videos with the clip's audio."""
    part = dict(start=start, num_frames=num_frames)
    common = dict(**part, overwrite=True, encoding=LOSSLESS)
    with ExitStack() as stack:
        source = stack.enter_context(open_source(clip))
        whole = copy.copy(source)  # of a size that LR frames can have
        whole.height, whole.width = (side // scale * scale for side in (source.height, source.width))
        gt_sink = stack.enter_context(open_sink(gt_path, whole, scale=1, **common))
        lr_sink = stack.enter_context(open_sink(lr_path, whole, scale=Fraction(1, scale), **common))
        for frame in source.frames(**part):
            gt = np.ascontiguousarray(frame.rgb[: whole.height, : whole.width])
            gt_sink.write(replace(frame, rgb=gt))
            lr_sink.write(replace(frame, rgb=bicubic_downsample(gt, scale)))


def main() -> int:
    args = parse_args()
    device = pick_device(args.device)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    gt, lr, restored, comparison = (
        args.out_dir / name for name in ("gt.mkv", "lr.mkv", "restored.mp4", "comparison.png")
    )
    net = load_restorer(args.weights, device=device)
    print(f"1/2 degrading {args.num_frames} frames of {args.clip} with MATLAB-style bicubic x1/{net.scale}")
    make_clips(sample_clip(args.clip), args.start, args.num_frames, gt, lr, net.scale)

    print(f"2/2 restoring them with {type(net).__name__} ({args.weights}) on {device}")
    options = RestoreOptions(gt=gt, comparison=comparison, overwrite=True)
    begin = time.perf_counter()
    with frame_progress(args.num_frames) as bar:
        result = restore_video(lr, restored, net, options, progress=bar.update)
    seconds = time.perf_counter() - begin

    means = result.quality.means()
    print(f"bicubic    PSNR {means['bicubic_psnr']:.2f} dB   SSIM {means['bicubic_ssim']:.4f}")
    print(f"{type(net).__name__.removesuffix('Net'):10} PSNR {means['psnr']:.2f} dB   SSIM {means['ssim']:.4f}")
    print(f"protocol: {result.quality.in_words()}")
    metrics = dict(
        clip=args.clip,
        start=args.start,
        num_frames=result.num_frames,
        weights=args.weights,
        device=str(device),
        protocol=result.quality.in_words(),
        **means,
        seconds_per_frame=seconds / result.num_frames,
    )
    (args.out_dir / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(f"look at {comparison} and {restored}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
