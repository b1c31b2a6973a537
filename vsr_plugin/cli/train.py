"""Train an experiment of configs/ through mmengine's runner; start several processes with tools/dist_train.sh."""

import argparse
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size, is_main_process

from vsr_plugin.acceleration.precision import feature_dtype
from vsr_plugin.cli.command import HelpFormatter
from vsr_plugin.errors import TrainingError, VSRError, give_hint
from vsr_plugin.models.upsampling import SHUFFLES
from vsr_plugin.ops.device import FreeCores, take_free_threads
from vsr_plugin.training.checkpoint_files import is_whole, latest_checkpoint, training_meta
from vsr_plugin.training.launching import (
    PRESETS,
    add_config_arguments,
    build_runner,
    divide_batch,
    forget_pretrained,
    read_config,
)
from vsr_plugin.training.optim_wrapper import PRECISIONS
from vsr_plugin.training.step_train_loop import check_count

AUTO = "auto"
#: The environment variable in which tools/dist_train.sh hands on how it was called, quoted for a shell.
TYPED_COMMAND = "VSR_TYPED_COMMAND"
#: Seconds in which a process that misses another one is itself told to end, if both are.
_HEARS_OF_IT = 3.0

#: What :func:`vsr_plugin.cli.command.run` says when the command is stopped.
MESSAGES = dict(
    state="a checkpoint is whole or not there",
    save_memory="use --preset gpu_8gb, or --cfg-options train_cfg.micro_batch_size=1",
)


def parse_args(arguments: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__, formatter_class=HelpFormatter)
    add_config_arguments(parser)
    presets = ", ".join(sorted(file.stem for file in PRESETS.glob("*.py")))
    parser.add_argument("--preset", metavar="NAME", help=f"settings for a kind of machine: {presets}, or a file")
    scales = ", ".join(map(str, SHUFFLES))
    parser.add_argument(
        "--scale", type=int, choices=list(SHUFFLES), metavar="N",
        help=f"train for another scale than the config's: {scales}; patches keep their size at LR, LR frames are made "
        "on the fly where there are none of that scale, and trained weights give what fits",
    )  # fmt: skip
    parser.add_argument(
        "--resume", nargs="?", const=AUTO, metavar="PATH",
        help="go on with the run in the work dir, from its last whole checkpoint or from PATH",
    )  # fmt: skip
    parser.add_argument(
        "--amp", nargs="?", const=AUTO, choices=[AUTO, "bf16", "fp16"],
        help="mixed precision; bf16 where the device has it if nothing else is said. Flow and warping stay float32",
    )  # fmt: skip
    return parser.parse_args(arguments)


def set_precision(cfg: Config, amp: str) -> None:
    """Turn mixed precision on."""
    if amp == AUTO:
        lacks_bf16 = torch.cuda.is_available() and not torch.cuda.is_bf16_supported()
        amp = "fp16" if lacks_bf16 else "bf16"
    cfg.optim_wrapper.precision = amp


def check_precision(cfg: Config) -> None:
    """Refuse a precision that a CPU can only imitate: bfloat16 without its arithmetic takes sixty times as long.

    Raises:
        TrainingError: there is no GPU, and the CPU has no arithmetic for the precision.
    """
    precision = cfg.optim_wrapper.get("precision", "fp32")
    if torch.cuda.is_available() or precision not in PRECISIONS:
        return
    try:
        feature_dtype(precision, torch.device("cpu"))
    except VSRError as error:
        raise TrainingError(f"{error}: leave --amp out, or add --cfg-options optim_wrapper.precision=fp32") from None


def set_start(cfg: Config, resume: str | None) -> int:
    """Decide where the run begins.

    Returns:
        Steps that are done.

    Raises:
        TrainingError: the checkpoint is not there, not whole or not of a training, or an earlier run would be
            overwritten.
    """
    last = latest_checkpoint(cfg.work_dir)
    if resume is None:
        if last is not None:
            raise TrainingError(
                f"{cfg.work_dir}: holds checkpoints of an earlier run ({last.name}); go on with it by --resume, or "
                "choose another --work-dir"
            )
        return 0
    if resume == AUTO:
        if last is None:
            print(f"nothing to resume in {cfg.work_dir}: starting from the beginning", file=sys.stderr)
            return 0
        resume = str(last)
    if not Path(resume).is_file():
        raise TrainingError(f"{resume}: no such checkpoint; --resume without a path takes the last one in the work dir")
    if not is_whole(resume):
        raise TrainingError(f"{resume}: the checkpoint is cut off; take an earlier one, or --resume without a path")
    done = training_meta(resume).get("iter", 0)
    cfg.load_from, cfg.resume = resume, True
    forget_pretrained(cfg.model)
    return done


def choose_threads(cfg: Config, cores: FreeCores) -> None:
    """Of the CPU, where that trains: as many as before the interruption, so that it is the same run, or as are free."""
    if torch.cuda.is_available():
        return
    threads = training_meta(cfg.load_from).get("threads") if cfg.resume else None
    if threads is not None:
        torch.set_num_threads(threads)
    elif line := take_free_threads(cores.count()):
        print(f"note: {line}", flush=True)


def hint(args: argparse.Namespace, cfg: Config, begun: float) -> str:
    """The command that goes on with a stopped run, if it has a checkpoint: the one that was typed, and where to resume.

    Args:
        args: what was parsed of the command.
        cfg: the experiment.
        begun: time at which the run began.
    """
    if args.resume in (None, AUTO) and latest_checkpoint(cfg.work_dir) is None:
        return "no checkpoint was saved so far, so the same command begins anew"
    typed = shlex.split(os.environ.get(TYPED_COMMAND, ""))
    script = Path(sys.argv[0])
    program = ["vsr-plugin"] if script.stem in ("__main__", "vsr-plugin") else ["python", sys.argv[0]]
    words = without_resume(typed or [*program, *sys.argv[1:]], args.resume)
    words.append("--resume")
    if args.resume not in (None, AUTO):
        # A work dir may hold later steps of an earlier run, which --resume alone would take.
        own = latest_checkpoint(cfg.work_dir, since=begun)
        words.append(args.resume if own is None else str(own))
    processes = "" if typed or cfg.launcher == "none" else "the same launcher and "
    return f"go on with: {processes}{shlex.join(words)}"


def without_resume(words: list[str], value: str | None) -> list[str]:
    """A command without its ``--resume``, in full or shortened as argparse allows, and the value of it."""
    kept: list[str] = []
    resume = False
    for word in words:
        if resume and word == value:
            resume = False
            continue
        name, equals, _ = word.partition("=")
        resume = name.startswith("--res") and "--resume".startswith(name)
        if not resume:
            kept.append(word)
        resume = resume and not equals
    return kept


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> None:
    begun, cores = time.time(), FreeCores()
    args = parse_args(arguments, prog)
    cfg = read_config(args)
    divide_batch(cfg)
    if args.amp:
        set_precision(cfg, args.amp)
    check_precision(cfg)
    done, steps = set_start(cfg, args.resume), check_count("train_cfg.max_iters", cfg.train_cfg.max_iters)
    if done >= steps:
        print(f"{cfg.load_from}: already has its {steps} steps; raise max_iters to go on")
        return
    runner = build_runner(cfg)
    choose_threads(cfg, cores)
    try:
        runner.train()
    except BaseException as error:
        failed, stop = error, None
        while failed is not None:
            try:
                stop, failed = stop or interruption(failed), None
                if stop is not None and hasattr(signal, "SIGCHLD"):
                    with suppress(ValueError):  # in a thread, which signals do not reach
                        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where PyTorch raises for data loaders
            except BaseException as another:
                failed = another
        if stop is None:
            raise
        if is_main_process():
            give_hint(stop, hint(args, cfg, begun))
        raise stop from None


def interruption(error: BaseException) -> BaseException | None:
    """The interruption that a run ended by, if it did, whatever it ended with.

    Whoever ends a run ends its data loaders and other processes as well. That these are missed may come before or
    behind it, even while this function runs: then it is to be called with that error again.
    """
    about: BaseException | None = error
    # In the context also where mmengine is formatting a config, and makes a SyntaxError of it.
    while about is not None:
        if isinstance(about, KeyboardInterrupt | SystemExit):
            return about
        about = about.__context__
    if get_world_size() > 1 or "killed by signal" in str(error):
        try:
            time.sleep(_HEARS_OF_IT)
        except (KeyboardInterrupt, SystemExit) as late:
            return late
    return None
