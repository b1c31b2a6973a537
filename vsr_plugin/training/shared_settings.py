"""Settings that many places of an experiment are made of: folders of data sets, number of steps, scale.

mmengine fills ``data_root`` and ``max_iters`` into paths and schedules while it reads the file that sets them. Such a
file notes what it filled in (``data_root_followed = data_root``); where the setting is replaced later, in a config that
inherits or on the command line, all that was made of it follows.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config, ConfigDict

from vsr_plugin.errors import VSRError
from vsr_plugin.models.upsampling import SHUFFLES
from vsr_plugin.registry import MODELS
from vsr_plugin.training.video_restorer import GENERATOR

STEPS = "max_iters"
_NOTED = "_followed"
#: Where test sets lie of which an experiment has no setting of its own.
_TEST_ROOTS = "test_roots"
_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def follow_file(cfg: Config) -> Config:
    """Let an experiment follow what its file replaces of the noted settings that it inherits; returns it."""
    noted = [name.removesuffix(_NOTED) for name in cfg if name.endswith(_NOTED)]
    before = {name: cfg[name + _NOTED] for name in noted}
    before |= {name: root for name, root in cfg.get(_TEST_ROOTS, {}).items() if name in cfg and name not in noted}
    replaced = {name: (old, cfg[name]) for name, old in before.items() if cfg[name] != old}
    cfg.merge_from_dict({name + _NOTED: now for name, (_, now) in replaced.items() if name in noted})
    if steps := replaced.pop(STEPS, None):
        _set_steps(cfg, *steps)
    # Paths that the file sets itself lie in the new root already.
    _move(cfg, dict(replaced.values()), keep=tuple(new for _, new in replaced.values()))
    _note_test_roots(cfg, {name: new for name, (_, new) in replaced.items()})
    return cfg


def follow_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Let an experiment follow the roots and ``max_iters`` among options that are merged into it afterwards.

    A changed ``train_cfg.max_iters`` that the learning rate does not follow is warned of.

    Raises:
        VSRError: there is no such root, or a value cannot be used.
    """
    roots = {name: root for name, root in options.items() if name.endswith("_root") and "." not in name}
    _move(cfg, {_old_root(cfg, name, root): root for name, root in roots.items()})
    _note_test_roots(cfg, roots)
    if STEPS in options:
        steps = options[STEPS]
        if not cfg.get("train_cfg"):
            raise VSRError(f"{STEPS}={steps}: {cfg.filename} has no train_cfg, so there are no steps to set")
        if not isinstance(steps, int) or steps < 1:
            raise VSRError(f"{STEPS}={steps}: must be a number of steps, from 1 on")
        before, cfg.train_cfg.max_iters = cfg.train_cfg.get(STEPS), steps
        _set_steps(cfg, before, steps)
    _warn_of_schedule(cfg, options)


def _schedulers(cfg: Config) -> dict[str, ConfigDict]:
    """Schedulers of the learning rate by the keys that lead to them."""
    schedule = cfg.get("param_scheduler") or []
    if isinstance(schedule, dict):
        return {"param_scheduler": schedule}
    return {f"param_scheduler.{i}": scheduler for i, scheduler in enumerate(schedule)}


def _set_steps(cfg: Config, before: int | None, steps: int) -> None:
    """Change the length of a training, and of the schedules that end with it."""
    for part in (cfg.train_cfg, *_schedulers(cfg).values()):
        part.update({key: steps for key in (STEPS, "T_max", "end") if part.get(key) == before is not None})


def _warn_of_schedule(cfg: Config, options: Mapping[str, Any]) -> None:
    steps, before = options.get(f"train_cfg.{STEPS}"), (cfg.get("train_cfg") or {}).get(STEPS)
    if steps in (None, before) or any(key.endswith(".T_max") for key in options):
        return
    for key, scheduler in _schedulers(cfg).items():
        if scheduler.get("T_max") == before:
            print(
                f"warning: train_cfg.{STEPS}={steps} leaves {key}.T_max={before}, so the learning rate ends elsewhere "
                f"than the training; --cfg-options {STEPS}={steps} sets both",
                file=sys.stderr,
            )


def _old_root(cfg: Config, name: str, root: Any) -> str:
    """What a root is before an option replaces it.

    Raises:
        VSRError: no data set lies there, or the new one is no path.
    """
    if not isinstance(root, str) or not root:
        raise VSRError(f"{name}={root}: must be the path of a folder")
    texts = [text for loader in _LOADERS for text in _texts(cfg.get(loader))]
    used = {
        key: value
        for key, value in (cfg.get(_TEST_ROOTS, {}) | cfg.to_dict()).items()
        if key.endswith("_root") and isinstance(value, str) and any(_lies_in(text, value) for text in texts)
    }
    if name not in used:
        known = " and ".join(f"{key} ({value})" for key, value in used.items())
        instead = known or "gt_root and lq_root of each data set, such as train_dataloader.dataset.gt_root"
        raise VSRError(f"{name}={root}: {cfg.filename} reads nothing from a {name}; set {instead} instead")
    return used[name]


def _note_test_roots(cfg: Config, roots: Mapping[str, str]) -> None:
    # Of a config that is saved and read again, nothing is to move once more.
    for name in roots.keys() & cfg.get(_TEST_ROOTS, {}).keys():
        cfg[_TEST_ROOTS][name] = roots[name]


def _lies_in(text: str, root: str) -> bool:
    return f"{text}/".startswith(f"{root.rstrip('/')}/")


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict | list | tuple):
        for value in part.values() if isinstance(part, dict) else part:
            yield from _texts(value)


def _move(cfg: Config, moves: Mapping[str, str], keep: tuple[str, ...] = ()) -> None:
    """Replace what paths of data sets begin with, except in those that lie in one of ``keep``."""
    # Above what is replaced, everything lies that is to be moved.
    keep = [root for root in keep if not any(_lies_in(old, root) for old in moves)]

    # Copies, since sets that share a loader would otherwise be moved twice.
    def moved(part: Any) -> Any:
        if isinstance(part, dict):
            return type(part)({key: moved(value) for key, value in part.items()})
        if isinstance(part, list | tuple):
            return type(part)(map(moved, part))
        if isinstance(part, str) and not any(_lies_in(part, root) for root in keep):
            for old, new in sorted(moves.items(), key=lambda move: -len(move[0])):
                if _lies_in(part, old):
                    return os.path.join(new, part[len(old.rstrip("/")) :].lstrip("/"))
        return part

    for loader in _LOADERS if moves else ():
        if loader in cfg:
            cfg[loader] = moved(cfg[loader])


#: Parts of the networks that belong to one scale.
_UPSAMPLING = ("upsample", "conv_hr", "conv_last")


def scale_of(cfg: Config) -> int:
    """Scale of an experiment's network; 1 where it only cleans."""
    generator = cfg.get("model", {}).get("generator", {})
    return generator.get("scale", getattr(MODELS.get(generator.get("type", "")), "scale", 4))


def set_scale(cfg: Config, scale: int) -> None:
    """Fit an experiment to a scale, in place; nothing happens if it has it.

    The network gets another upsampling. Patches keep their size at LR, so that a training step costs about the same,
    and are larger or smaller in the ground truth. LR frames are looked for in the folder of the scale, such as ``X2``
    beside ``X4`` and ``BIx2`` beside ``BIx4``, and made on the fly where that is absent. What starts from trained
    weights takes what fits, see :func:`vsr_plugin.weights.warm_start`.

    Args:
        cfg: an experiment as :func:`vsr_plugin.training.launching.read_config` returns it.
        scale: HR pixels per LR pixel and side.

    Raises:
        VSRError: there is no such scale.
    """
    if scale not in SHUFFLES:
        raise VSRError(f"scale {scale}: no such scale; choose one of {', '.join(map(str, SHUFFLES))}")
    before = scale_of(cfg)
    if scale == before:
        return
    if before == 1:
        raise VSRError(f"scale {scale}: {cfg.model.generator.type} does not enlarge; leave the scale out")
    generator = cfg.model.generator
    generator.scale = scale
    _start_warm(generator)
    cfg.model.frozen = [name for name in cfg.model.get("frozen", ()) if not _is_upsampling(name)]
    for kind in ("train", "val", "test"):
        for dataset in _clip_datasets(cfg.get(f"{kind}_dataloader")):
            _rescale(dataset, before, scale)


def check_scale(cfg: Config) -> None:
    """Refuse an experiment whose network and data are not of one scale.

    Raises:
        VSRError: they are not.
    """
    scale = scale_of(cfg)
    for kind in ("train", "val", "test"):
        for dataset in _clip_datasets(cfg.get(f"{kind}_dataloader")):
            if dataset.get("scale", 4) != scale:
                raise VSRError(
                    f"{cfg.filename}: the network is of scale {scale}, {kind}_dataloader of scale "
                    f"{dataset.get('scale', 4)}; set neither by hand, --scale of tools/train.py sets all"
                )


def _start_warm(generator: ConfigDict) -> None:
    """Take what fits of the weights that the whole network was to start from."""
    init_cfg = generator.get("init_cfg")
    if init_cfg and init_cfg.get("type") == "Pretrained":
        init_cfg.type = "WarmStart"
        for key in [key for key in generator if key.endswith("_pretrained")]:
            generator[key] = None  # these weights hold the parts, too


def _is_upsampling(name: str) -> bool:
    return name.removeprefix(GENERATOR).startswith(_UPSAMPLING)


def _clip_datasets(loaders: object) -> Iterator[ConfigDict]:
    """All configs of a ``ClipDataset`` in those of loaders, however deep."""
    if isinstance(loaders, list | tuple):
        for part in loaders:
            yield from _clip_datasets(part)
    elif isinstance(loaders, dict):
        if str(loaders.get("type")).rpartition(".")[2] == "ClipDataset":
            yield loaders
        else:
            yield from _clip_datasets(list(loaders.values()))


def _rescale(dataset: ConfigDict, before: int, scale: int) -> None:
    dataset.scale = scale
    for transform in dataset.get("pipeline", ()):
        if "scale" in transform:
            transform.scale = scale
    if dataset.get("gt_size"):
        dataset.gt_size = dataset.gt_size // before * scale
    if dataset.get("lq_root"):
        places = [dataset.lq_root] if isinstance(dataset.lq_root, str) else dataset.lq_root
        folders = [re.subn(rf"(?<=[xX]){before}(?=/?$)", str(scale), place) for place in places]
        if not all(count for _, count in folders):
            raise VSRError(
                f"lq_root {dataset.lq_root}: its name does not end with x{before}, so the folder of scale {scale} is "
                "not known; set lq_root and scale of this data set in a config of your own"
            )
        dataset.lq_root = folders[0][0] if isinstance(dataset.lq_root, str) else [folder for folder, _ in folders]
