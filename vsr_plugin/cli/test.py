"""Score weights on the test sets of an experiment in configs/; start several processes with tools/dist_test.sh."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import torch.nn as nn
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper

from vsr_plugin.cli.command import HelpFormatter
from vsr_plugin.errors import VSRError, WeightsError
from vsr_plugin.evaluation import report_table
from vsr_plugin.evaluation.extra_metrics import DEFINITIONS, check_metrics
from vsr_plugin.ops.device import pick_device
from vsr_plugin.training.launching import add_config_arguments, build_runner, forget_pretrained, read_config
from vsr_plugin.training.shared_settings import scale_of, set_scale
from vsr_plugin.training.testing import choose_test_sets, quality_metrics
from vsr_plugin.weights import load_into
from vsr_plugin.weights.loading import load_architecture

#: What :func:`vsr_plugin.cli.command.run` says when the command is stopped.
MESSAGES = dict(
    state="the figures of finished sets are in the work dir",
    save_memory="limit it by --cfg-options model.test_cfg.memory_budget=BYTES, or use --device cpu",
)


def parse_args(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=HelpFormatter)
    add_config_arguments(parser)
    parser.add_argument("checkpoint", help="published name, or path of a checkpoint in any layout, of training too")
    parser.add_argument("--only", nargs="+", metavar="SET", help="names of test sets, such as REDS4 Vid4")
    parser.add_argument("--baseline", action="store_true", help="score bicubic enlargement as well")
    parser.add_argument(
        "--metrics", nargs="+", default=[], metavar="NAME",
        help=f"figures besides PSNR and SSIM: {', '.join(DEFINITIONS)}",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N, or auto for a GPU if there is one")
    return parser.parse_args(arguments)


def prepare(cfg: Config, args: argparse.Namespace, scale: int) -> list[str]:
    """Fit a config to the test: sets, scale of the weights, where figures go, nothing of training.

    Returns:
        Notes for the person.

    Raises:
        VSRError: there is no set to test on.
    """
    notes = choose_test_sets(cfg, args.only)
    if scale != scale_of(cfg):
        notes.append(f"{args.checkpoint}: weights of scale {scale}, so the sets are tested at that scale")
        set_scale(cfg, scale)
        if args.work_dir is None:
            cfg.work_dir = f"{cfg.work_dir}_x{scale}"  # as training names it
    if args.work_dir is None:
        # Several checkpoints of one training are tested, and their figures stay side by side.
        cfg.work_dir = os.path.join(cfg.work_dir, f"test_{Path(args.checkpoint).stem}")
    for metric in quality_metrics(cfg):
        metric.update(
            out_dir=cfg.work_dir, weights=args.checkpoint, baseline=args.baseline or metric.get("baseline", False)
        )
        if args.metrics:
            metric.extra = args.metrics
    cfg.test_cfg = dict(type="MultiSetTestLoop")
    cfg.load_from, cfg.resume = None, False
    forget_pretrained(cfg.model)
    return notes


def load_weights(net: nn.Module, args: argparse.Namespace) -> None:
    """Load the checkpoint.

    Raises:
        WeightsError: it does not fit; a config that its training left beside it is named.
    """
    try:
        load_into(net, args.checkpoint)
    except WeightsError as error:
        left = [path for path in sorted(Path(args.checkpoint).parent.glob("*.py")) if not path.samefile(args.config)]
        if not left or not Path(args.checkpoint).is_file():
            raise
        raise WeightsError(f"{error}; its training left a config beside it, take that: {left[0]}") from None


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    args = parse_args(arguments, prog)
    device = pick_device(args.device)
    try:
        check_metrics(args.metrics)
    except VSRError as error:
        raise VSRError(f"--metrics: {error}") from None
    # Before minutes of work: a name or path that does not exist, or no weights.
    scale = load_architecture(args.checkpoint).scale
    cfg = read_config(args)
    if cfg.launcher != "none" and args.device != "auto":
        raise VSRError("--device is for one process; several take a GPU each, or all the CPU where there is none")
    notes = prepare(cfg, args, scale)
    runner = build_runner(cfg)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    # A moving average is what is tested, where the model has one.
    net = getattr(model, "generator_ema", model.generator)
    load_weights(net, args)
    if args.device != "auto":
        runner.model.to(device)
    if is_main_process():
        for note in notes:
            print(note)
        print(f"testing {type(net).__name__} ({args.checkpoint}); figures go to {cfg.work_dir}", flush=True)
    runner.test()
    if is_main_process():
        print(report_table(runner.test_loop.reports))
    return 0
