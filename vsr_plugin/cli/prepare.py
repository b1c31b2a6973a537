"""Make a set ready for training: check it, make LR frames (BI, BD), pack clips. The source is never changed.

Sets: reds, vimeo90k, vid4, udm10, and folder for clips of your own (folders of images, or videos, at any depth; those
under train/, val/ and test/ are of that split, others train); and material: photographs and videos, of which clips are
made that train a cleaning of footage. An interrupted run is taken up again by the same command.
How each set has to lie on disk: docs/data.md.
"""

import argparse
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from vsr_plugin.cli.command import HelpFormatter
from vsr_plugin.data.degradations import DEGRADATIONS
from vsr_plugin.data.preparation.material import count_material, make_material
from vsr_plugin.data.preparation.prepare import HINT, prepare
from vsr_plugin.data.preparation.products import Request
from vsr_plugin.data.preparation.sets import LAYOUTS, SPLITS
from vsr_plugin.progress import clip_progress, frame_progress
from vsr_plugin.settings import positive

#: What :func:`vsr_plugin.cli.command.run` says when the command is stopped.
MESSAGES = dict(state=HINT)


def parse_args(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("set", choices=[*LAYOUTS, "material"], help="which set it is")
    parser.add_argument("root", type=Path, help="the folder that it was unpacked to")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where LR frames, packed clips and lists go (default: ROOT_prepared)"
    )
    parser.add_argument("--check-only", action="store_true", help="look at everything, write nothing")

    made = parser.add_argument_group("what to make")
    made.add_argument(
        "--degradation",
        nargs="+",
        choices=list(DEGRADATIONS),
        help="LR versions to have; those that came with the set are used, others are made (BI: bicubic as in MATLAB; "
        "BD: Gaussian blur of 1.6 pixels, then every fourth pixel)",
    )
    made.add_argument(
        "--pack",
        action="store_true",
        help="pack ground truth and LR, so that training reads only the pixels it needs; needs 3 bytes per pixel",
    )

    part = parser.add_argument_group("part of the set")
    part.add_argument("--split", nargs="+", choices=SPLITS, help="splits to take (default: all)")
    part.add_argument("--test-clips", nargs="+", metavar="NAME", help="folder: clips that test")
    part.add_argument("--val-clips", nargs="+", metavar="NAME", help="folder: clips that validate")
    part.add_argument(
        "--clips-per-photo", type=positive, default=8, metavar="N", help="material: clips made of each photograph"
    )
    parser.add_argument("--workers", type=positive, default=os.cpu_count() or 1, metavar="N", help="processes")
    args = parser.parse_args(arguments)
    if args.set == "material":
        for name in ("check_only", "degradation", "pack", "split", "test_clips", "val_clips"):
            if getattr(args, name):
                parser.error(f"argument --{name.replace('_', '-')}: it is for sets, not for material")
    return args


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = parse_args(arguments, prog)
    # Its resolved name, so that `.` and `data/` give a name too.
    root = args.root.resolve()
    out = args.out or root.with_name(f"{root.name}_prepared")
    if args.set == "material":
        with closing(clip_progress(count_material(args.root, args.clips_per_photo))) as bar:
            names = make_material(args.root, out, clips_per_photo=args.clips_per_photo, progress=bar.update)
        print(f"done: {len(names)} clips in {out}")
        return
    prepare(
        args.set,
        args.root,
        Request(out, tuple(args.degradation or ()), args.pack),
        splits=args.split or SPLITS,
        held_out={"val": args.val_clips or (), "test": args.test_clips or ()},
        workers=args.workers,
        check_only=args.check_only,
        progress=lambda total, unit: {"clip": clip_progress, "frame": frame_progress}[unit](total),
    )
