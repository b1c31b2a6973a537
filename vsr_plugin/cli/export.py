"""Export a network as ONNX model, or its steps with --parts, and compare it with PyTorch in onnxruntime."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vsr_plugin.cli.command import HelpFormatter
from vsr_plugin.settings import natural, quantiser_step, share, whole_share

if TYPE_CHECKING:
    from vsr_plugin.export import Export


def parse_args(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("weights", help="published name, or path of a checkpoint of a whole network")
    parser.add_argument("output", type=Path, help="file OUT.onnx for whole sequences; with --parts a folder")
    parser.add_argument("--parts", action="store_true", help="a file for each step, for any length in bounded memory")
    parser.add_argument("--opset", type=int, default=19, help="version of the ONNX operators")
    parser.add_argument(
        "--deform-conv", choices=["DeformConv", "GridSample"], default="DeformConv",
        help="operator for deformable convolutions (IconVSR, BasicVSR++); GridSample for runtimes without the other",
    )  # fmt: skip
    parser.add_argument(
        "--keyframe-stride", type=natural, default=5, metavar="N", help="IconVSR: keyframes; 0 for none"
    )
    parser.add_argument(
        "--forgetting", type=share, default=0.0, metavar="R",
        help="share of its propagated features that a still pixel loses per frame, so that long shots do not drift; "
        "restore_video.py takes 0.1 for long scenes of videos",
    )  # fmt: skip
    parser.add_argument(
        "--clean", type=whole_share, metavar="0..1",
        help="clean frames of what compression left behind before they are restored, and how strongly; "
        "restore_video.py does so fully where a video is compressed (default: what the network does by itself)",
    )  # fmt: skip
    parser.add_argument(
        "--step", type=quantiser_step, metavar="N",
        help="how coarsely the codec quantises, in 255ths, to which the cleaning is set; restore_video.py says it of a "
        "video (default: 18, that of usual footage)",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace files of the same names")
    return parser.parse_args(arguments)


def report(export: "Export") -> None:
    """Print a line about one file."""
    if export.difference is None:
        verdict = "NOT compared: onnxruntime is not installed (pip install -r requirements/export.txt)"
    else:
        verdict = f"differs from PyTorch by at most {export.difference:.1e}"
    print(f"{export.path}  {export.size / 1e6:.1f} MB  {verdict}", flush=True)


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = parse_args(arguments, prog)
    # Not at the top: without the package onnx this is the one-line error.
    from vsr_plugin.export import export_onnx

    export_onnx(
        args.weights,
        args.output,
        parts=args.parts,
        opset=args.opset,
        deform_conv=args.deform_conv,
        keyframe_stride=args.keyframe_stride or None,
        forgetting=args.forgetting,
        clean=args.clean,
        step=args.step,
        overwrite=args.overwrite,
        on_file=report,
    )
