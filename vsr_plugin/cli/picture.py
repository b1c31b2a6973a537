"""Draw what a network does with a clip: KIND is alignment, comparison, drift, error, flow, profile or refill."""

import argparse
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from vsr_plugin.cli.command import HelpFormatter
from vsr_plugin.data.degraded_clip import DegradedClip, degraded_clip
from vsr_plugin.defaults import USUAL_RATE
from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation import frame_quality
from vsr_plugin.files import check_picture_name, write_whole
from vsr_plugin.inference import restore_frames
from vsr_plugin.models import IconVSRNet
from vsr_plugin.models.spynet import SPyNet
from vsr_plugin.models.vsr_net import VSRNet, load_restorer
from vsr_plugin.ops.device import pick_device
from vsr_plugin.ops.resize import bicubic_upsample
from vsr_plugin.progress import frame_progress
from vsr_plugin.settings import size
from vsr_plugin.visualization.alignment_picture import alignment_picture, alignment_stages
from vsr_plugin.visualization.comparison import comparison_picture
from vsr_plugin.visualization.error_map import error_picture
from vsr_plugin.visualization.flow_picture import flow_picture
from vsr_plugin.visualization.panels import Panel, enlarged, fitting_factor, panel_rows
from vsr_plugin.visualization.refill_picture import refill_picture, refill_stages
from vsr_plugin.visualization.temporal_profile import busiest_row, profile_picture
from vsr_plugin.weights import load_net, locate_published
from vsr_plugin.weights.loading import load_architecture

GT = "ground truth"


def parse_args(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("kind", metavar="KIND", help=f"one of {', '.join(KINDS)}")
    parser.add_argument("clip", metavar="CLIP", help="a sample clip by name, a video or a folder of images")
    parser.add_argument("output", type=Path, metavar="PNG", help="the picture")
    parser.add_argument("--lr", action="store_true", help="CLIP is what to restore; else it is degraded by BI first")
    parser.add_argument("--start", type=int, default=30, metavar="N", help="first frame that is read")
    parser.add_argument("--frames", type=int, default=15, metavar="N", help="frames that are read")
    parser.add_argument(
        "--frame", type=int, metavar="N", help="which of them is drawn (default: the middle one; refill: a keyframe)"
    )
    parser.add_argument("--size", type=size, metavar="HxW", help="at most this much of CLIP, from the top left")
    parser.add_argument(
        "--weights",
        help="published name or path (default: basicvsr_reds4; refill: iconvsr_reds4; alignment: basicvsr_pp_reds4)",
    )
    parser.add_argument(
        "--row", type=int, metavar="N", help="profile: row of the restored frame (default: the busiest)"
    )
    parser.add_argument("--column", type=int, metavar="N", help="profile: column of the restored frame instead")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N, or auto for a GPU if there is one")
    parser.add_argument("--overwrite", action="store_true", help="replace PNG")
    return parser.parse_args(arguments)


def read_net(args: argparse.Namespace) -> VSRNet:
    return load_restorer(args.weights, device=pick_device(args.device))


def title(net: VSRNet) -> str:
    """What a network is called in pictures."""
    return type(net).__name__.removesuffix("Net")


def captions(net: VSRNet, clip: DegradedClip, args: argparse.Namespace) -> list[str]:
    """What a picture of features is of."""
    return [f"{clip.name}, frame {args.start + args.frame}", f"{title(net)} ({args.weights})"]


def restored_versions(clip: DegradedClip, args: argparse.Namespace) -> dict[str, np.ndarray]:
    """Bicubic enlargement, restored frames and ground truth if there is any, each ``(t, H, W, 3)``."""
    net = read_net(args)
    with frame_progress(len(clip.lqs)) as bar:
        restored = np.stack(list(restore_frames(net, clip.lqs, num_frames=len(clip.lqs), progress=bar.update)))
    # What is restored at its size has to be compared with itself.
    given = {"bicubic": bicubic_upsample(clip.lqs, net.scale)} if net.scale > 1 else {"input": clip.lqs}
    versions = given | {title(net): restored}
    return versions if clip.gts is None else versions | {GT: clip.gts}


def draw_comparison(clip: DegradedClip, args: argparse.Namespace) -> Image.Image:
    versions = restored_versions(clip, args)
    return comparison_picture({label: frames[args.frame] for label, frames in versions.items()}, list(versions)[1])


def draw_drift(clip: DegradedClip, args: argparse.Namespace) -> Image.Image:
    net, t, i = read_net(args), len(clip.lqs), args.frame
    versions = {}
    with frame_progress(2 * t) as bar:
        for label, rate in (("as in the paper", 0.0), (f"forgetting {USUAL_RATE:g}", USUAL_RATE)):
            restored = restore_frames(net, clip.lqs, num_frames=t, forgetting=rate, progress=bar.update)
            versions[f"frame {args.start + i}, {label}"] = next(islice(restored, i, None))
    if clip.gts is not None:
        gt = clip.gts[i]
        versions = {f"{label}: {frame_quality(rgb, gt)[0]:.2f} dB": rgb for label, rgb in versions.items()} | {GT: gt}
    factor = fitting_factor(next(iter(versions.values())).shape[1], len(versions))
    return panel_rows([[Panel(label, enlarged(rgb, factor)) for label, rgb in versions.items()]])


def draw_error(clip: DegradedClip, args: argparse.Namespace) -> Image.Image:
    if clip.gts is None:
        raise VSRError("an error map needs ground truth, which there is none of with --lr, or if nothing is enlarged")
    versions = {label: frames[args.frame] for label, frames in restored_versions(clip, args).items()}
    gt = versions.pop(GT)
    return error_picture(versions, gt)


def draw_profile(clip: DegradedClip, args: argparse.Namespace) -> Image.Image:
    versions = restored_versions(clip, args)
    main = list(versions)[1]
    row = busiest_row(versions[main]) if args.row is None and args.column is None else args.row
    return profile_picture(versions, main, row=row, column=args.column, start=args.start)


def draw_flow(clip: DegradedClip, args: argparse.Namespace) -> Image.Image:
    i = args.frame
    if not 0 < i < len(clip.lqs) - 1:
        raise VSRError(f"--frame {i}: the flows to both neighbours are drawn, so it must be between other frames")
    net = load_net(args.weights, device=pick_device(args.device))
    spynet = getattr(net, "spynet", net)
    if not isinstance(spynet, SPyNet):
        raise VSRError(f"{args.weights}: weights of {type(net).__name__} without a flow network; give others")
    flows = spynet.neighbour_flows(clip.tensor(pick_device(args.device))[:, i - 1 : i + 2])
    to_previous, to_next = (f[0, k].permute(1, 2, 0).detach().cpu().numpy() for f, k in zip(flows, (0, 1), strict=True))
    shown = args.start + i  # as frames of the clip are counted
    frames = {f"frame {shown}": clip.lqs[i], f"frame {shown + 1}": clip.lqs[i + 1]}
    return flow_picture(frames, {f"flow {shown} to {shown - 1}": to_previous, f"flow {shown} to {shown + 1}": to_next})


def draw_refill(clip: DegradedClip, args: argparse.Namespace) -> Image.Image:
    net = read_net(args)
    if not isinstance(net, IconVSRNet):
        raise VSRError(
            f"{args.weights}: weights of {type(net).__name__}, which has no refill; a refill picture takes IconVSR's"
        )
    h, w = (side // 4 * 4 for side in clip.lqs.shape[1:3])
    lrs = clip.tensor(pick_device(args.device))[..., :h, :w]
    stages = refill_stages(net, lrs, args.frame)
    return refill_picture(clip.lqs[args.frame, :h, :w], stages, captions(net, clip, args))


def draw_alignment(clip: DegradedClip, args: argparse.Namespace) -> Image.Image:
    net = read_net(args)
    stages = alignment_stages(net, clip.tensor(pick_device(args.device)), args.frame)
    return alignment_picture(clip.lqs[args.frame], stages, captions(net, clip, args))


#: Published weights of kinds of pictures that not every network has, and what to draw them with else.
SPECIAL_WEIGHTS = {
    "alignment": ("basicvsr_pp_reds4", "such as those of a training of BasicVSR++"),
    "refill": ("iconvsr_reds4", "such as the checkpoint that tools/study.py keyframes trains and names"),
}

KINDS = {
    "alignment": draw_alignment,
    "comparison": draw_comparison,
    "drift": draw_drift,
    "error": draw_error,
    "flow": draw_flow,
    "profile": draw_profile,
    "refill": draw_refill,
}


def default_weights(kind: str) -> str:
    """Published weights that a picture is drawn with if none are named.

    Raises:
        VSRError: they are not on this machine, as those that no package brings mostly are not.
    """
    name, way_out = SPECIAL_WEIGHTS.get(kind, ("basicvsr_reds4", ""))
    if way_out and not locate_published()[name]:
        raise VSRError(
            f"the {kind} picture is drawn with {name}, which is not on this machine; give --weights, {way_out}"
        )
    return name


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = parse_args(arguments, prog)
    if args.kind not in KINDS:
        raise VSRError(f"{args.kind}: no such picture; there are {', '.join(KINDS)}")
    if args.output.exists() and not args.overwrite:
        raise VSRError(f"{args.output}: exists already; pass --overwrite or choose another name")
    check_picture_name(args.output)
    if args.frames < 1 or args.start < 0:
        raise VSRError(f"--start {args.start} --frames {args.frames}: must be at least 0 and 1")
    if args.frame is None:
        # With the usual stride of 5, the keyframe nearest to the middle.
        args.frame = args.frames // 2 if args.kind != "refill" else max(5, args.frames // 10 * 5)
    if not 0 <= args.frame < args.frames:
        raise VSRError(
            f"--frame {args.frame}: must be from 0 to {args.frames - 1}, since {args.frames} frames are read"
        )
    if args.weights is None:
        args.weights = default_weights(args.kind)
    scale = load_architecture(args.weights).scale
    degrade = not args.lr and scale > 1
    if degrade and args.size is not None and min(args.size) < scale:
        raise VSRError(f"--size {args.size[0]}x{args.size[1]}: leaves no LR pixel; use {scale}x{scale} or more")
    part = dict(start=args.start, num_frames=args.frames, size=args.size)
    clip = degraded_clip(args.clip, **part, degrade=degrade, scale=scale)
    picture = KINDS[args.kind](clip, args)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(args.output, partial(picture.save, optimize=True))
    print(f"look at {args.output} ({picture.width}x{picture.height})")
