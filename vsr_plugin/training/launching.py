"""From a command line to a runner: configs, presets, processes; shared by the tools that train and test."""

import argparse
import functools
import importlib.util
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from vsr_plugin.errors import TrainingError, VSRError
from vsr_plugin.mmagic_host import import_quietly
from vsr_plugin.shipped import find_config, shipped
from vsr_plugin.training.checked_runner import CheckedRunner, building
from vsr_plugin.training.shared_settings import check_scale, follow_file, follow_options, scale_of, set_scale
from vsr_plugin.training.step_train_loop import check_count

#: Files that change a few settings of any experiment.
PRESETS = shipped("configs") / "presets"
#: The environment variable that configs of studies read: which experiment they change, and its default.
RECIPE, DEFAULT_RECIPE = "VSR_RECIPE", "reds"
#: Environment variables that hold the number of processes, by launcher.
_WORLD_SIZE = {"pytorch": "WORLD_SIZE", "slurm": "SLURM_NTASKS", "mpi": "OMPI_COMM_WORLD_SIZE"}


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what training and testing have in common."""
    parser.add_argument(
        "config",
        type=find_config,
        help="experiment: a path, or the name of one in configs/, such as iconvsr_reds",
    )
    known = ", ".join(recipes())
    parser.add_argument(
        "--recipe", metavar="NAME",
        help=f"data, size and schedule for a config of configs/studies: {known}; {DEFAULT_RECIPE} by default",
    )  # fmt: skip
    parser.add_argument("--work-dir", help="folder for what comes out; work_dirs/NAME_OF_CONFIG by default")
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE",
        help="replace settings of the config, such as model.generator.num_blocks=10",
    )  # fmt: skip
    parser.add_argument(
        "--launcher", choices=["none", *_WORLD_SIZE],
        help="how processes were started; torchrun and single processes are recognised by themselves",
    )  # fmt: skip


def read_config(args: argparse.Namespace) -> Config:
    """Read the experiment, apply preset, scale and options if there are some, and fit it to this machine.

    Raises:
        VSRError: the config, the recipe, the preset or the scale does not exist or cannot be read, or the config takes
            no recipe.
    """
    cfg = read_experiment(args.config, getattr(args, "recipe", None))
    preset = getattr(args, "preset", None)
    if preset is not None:
        path = PRESETS / f"{preset}.py"
        path = path if path.is_file() else Path(preset)
        if not path.is_file():
            known = ", ".join(sorted(file.stem for file in PRESETS.glob("*.py")))
            raise VSRError(f"preset {preset!r}: no such preset or file; there are {known}")
        settings = load_config(path).to_dict()
        follow_options(cfg, settings)
        cfg.merge_from_dict(settings)
    scale = getattr(args, "scale", None)
    other_scale = scale is not None and scale != scale_of(cfg)
    if other_scale:
        set_scale(cfg, scale)
    if args.cfg_options:
        follow_options(cfg, args.cfg_options)
        merge_options(cfg, args.cfg_options)
    check_scale(cfg)
    recipe = cfg.env_variables.get(RECIPE)
    name = args.config.stem if recipe in (None, DEFAULT_RECIPE) else f"{args.config.stem}_{recipe}"
    name = f"{name}_x{scale}" if other_scale else name
    cfg.work_dir = args.work_dir or cfg.get("work_dir") or os.path.join("work_dirs", name)
    cfg.launcher = args.launcher or ("pytorch" if int(os.environ.get("WORLD_SIZE", 1)) > 1 else "none")
    if importlib.util.find_spec("tensorboard") is None:
        backends = cfg.visualizer.vis_backends
        cfg.visualizer.vis_backends = [b for b in backends if b["type"] != "TensorboardVisBackend"]
    return cfg


def merge_options(cfg: Config, options: dict) -> None:
    """Replace settings of a config.

    Raises:
        VSRError: a name leads to nothing that can be replaced, or to a group of settings that one value cannot stand
            for.
    """
    for name, value in options.items():
        try:
            group = functools.reduce(_member, name.split("."), cfg)
        except (LookupError, TypeError, ValueError):
            group = None
        if isinstance(group, Mapping) and not isinstance(value, Mapping | None):
            raise VSRError(
                f"--cfg-options {name}={value}: {name} has several settings, {', '.join(group)}; name one, such as "
                f"{name}.{next(iter(group), 'type')}=..."
            )
        try:
            cfg.merge_from_dict({name: value})
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise VSRError(
                f"--cfg-options {name}={value}: there is no such setting to replace; correct the name, or replace the "
                "whole list or value that it leads into"
            ) from error


def _member(group: Any, name: str) -> Any:
    return group[int(name)] if isinstance(group, list) else group[name]


def recipes() -> list[str]:
    """Names of the experiments that every study can be run on: those that both networks have."""
    files = PRESETS.parent
    names = (file.stem.removeprefix("basicvsr_") for file in files.glob("basicvsr_*.py"))
    return sorted(name for name in names if (files / f"iconvsr_{name}.py").is_file())


def read_experiment(path: Path, recipe: str | None = None) -> Config:
    """Read a config, one of a study on a recipe.

    Args:
        path: the config.
        recipe: one of :func:`recipes`; by default what the environment says, or else :data:`DEFAULT_RECIPE`.

    Raises:
        VSRError: the config or the recipe does not exist, or the config cannot be read or takes no recipe.
    """
    before = os.environ.get(RECIPE)
    chosen = recipe or before
    if chosen is None:
        return load_config(path)
    if chosen not in recipes():
        raise VSRError(f"recipe {chosen!r}: no such recipe; there are {', '.join(recipes())}")
    os.environ[RECIPE] = chosen  # mmengine puts it into the text of the config, and logs that it did at every reading
    logged = logging.root.manager.disable
    logging.disable(max(logged, logging.INFO))
    try:
        cfg = load_config(path)
    finally:
        logging.disable(logged)
        if before is None:
            del os.environ[RECIPE]
        else:
            os.environ[RECIPE] = before
    if recipe is not None and RECIPE not in cfg.env_variables:
        raise VSRError(f"{path}: takes no recipe; those of configs/studies do")
    return cfg


def load_config(path: Path) -> Config:
    """Read an experiment as it stands in its file.

    Raises:
        VSRError: it does not exist or cannot be read.
    """
    if not path.is_file():
        raise VSRError(f"{path}: no such config; those of this package are in configs/")
    try:
        return follow_file(Config.fromfile(path))
    except Exception as error:  # a config is a program and fails as programs do
        raise VSRError(f"{path}: the config cannot be read: {type(error).__name__}: {error}") from error


def number_of_processes(cfg: Config) -> int:
    """How many processes the launcher has started."""
    return int(os.environ.get(_WORLD_SIZE.get(cfg.launcher, ""), 1))


def divide_batch(cfg: Config) -> None:
    """Give every process its share of ``total_batch_size``.

    Raises:
        TrainingError: it is no number of samples, or cannot be shared out evenly.
    """
    total, processes = check_count("total_batch_size", cfg.total_batch_size), number_of_processes(cfg)
    if total % processes:
        raise TrainingError(
            f"total_batch_size {total} cannot be shared out to {processes} processes; start a number that divides it, "
            f"or change it: --cfg-options total_batch_size={processes * max(1, round(total / processes))}"
        )
    cfg.train_dataloader.batch_size = total // processes
    micro = cfg.train_cfg.get("micro_batch_size")
    if micro is not None:
        cfg.train_cfg.micro_batch_size = min(check_count("train_cfg.micro_batch_size", micro), total // processes)


def forget_pretrained(model: Config) -> None:
    """Take names of pretrained weights out of a model's config, for a run whose weights come from a checkpoint."""
    for key in list(model):
        if key == "init_cfg" or key.endswith("_pretrained"):
            model[key] = None
        elif isinstance(model[key], dict):
            forget_pretrained(model[key])


def start_processes(cfg: Config) -> None:
    """Join the processes of a run without GPUs; with GPUs, mmengine does it."""
    if torch.cuda.is_available() or cfg.launcher == "none":
        return
    if cfg.launcher != "pytorch":
        raise TrainingError(f"--launcher {cfg.launcher} needs GPUs; use torchrun on machines without")
    # mmengine would choose a GPU first, which fails in a build of PyTorch without CUDA.
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    unused = cfg.get("find_unused_parameters", False)
    cfg.model_wrapper_cfg = dict(type="MMDistributedDataParallel", device_ids=None, find_unused_parameters=unused)


def build_runner(cfg: Config) -> Runner:
    """Build mmengine's runner.

    Raises:
        VSRError: a part of the config does not exist or does not take its arguments.
    """
    start_processes(cfg)
    # Its zoo prints about parts that are of no concern here when it is first used.
    import_quietly("mmagic.models")
    with building(f"{cfg.filename}:"):
        return CheckedRunner.from_cfg(cfg)
