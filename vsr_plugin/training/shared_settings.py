"""Settings that many places of an experiment follow: the folders of its data sets, and the number of its steps.

mmengine fills ``data_root`` and ``max_iters`` into paths and schedules while it reads the file that names them. Where
they are replaced later, on the command line or in a config that inherits, nothing would follow without this module.
"""

import ast
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from vsr_plugin.errors import VSRError

STEPS = "max_iters"
_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
#: As mmengine's configs name environment variables, with a default.
_VARIABLE = re.compile(r"\{\{['\"]?\s*\$(\w+)\s*:\s*(\S*?)\s*['\"]?\}\}")


def follow_file(cfg: Config, path: Path) -> Config:
    """Have an experiment follow the roots and ``max_iters`` that its file replaces in those that it inherits from.

    Args:
        cfg: the experiment as mmengine reads it, changed in place.
        path: its file.

    Returns:
        ``cfg``.
    """
    return _follow(cfg, path, {})


def follow_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Have an experiment follow the roots and ``max_iters`` among options that are merged into it afterwards.

    A changed ``train_cfg.max_iters`` that the learning rate does not follow is warned of.

    Raises:
        VSRError: there is no such root, or a value cannot be used.
    """
    moves = {}
    for name, root in options.items():
        if name.endswith("_root") and "." not in name:
            moves[_old_root(cfg, name, root)] = root
    _move(cfg, moves)
    if STEPS in options:
        steps = options[STEPS]
        if not cfg.get("train_cfg"):
            raise VSRError(f"{STEPS}={steps}: {cfg.filename} has no train_cfg, so there are no steps to set")
        if not isinstance(steps, int) or steps < 1:
            raise VSRError(f"{STEPS}={steps}: must be a number of steps, from 1 on")
        _set_steps(cfg, steps)
    _warn_of_schedule(cfg, options)


def _follow(cfg: Config, path: Path, known: dict[Path, Config]) -> Config:
    steps, now = cfg.get(STEPS), _steps(cfg)
    differ = None not in (steps, now) and steps != now
    replaced = _replaced_roots(path)
    if not differ and not replaced:
        return cfg  # as nearly always; mmengine takes a quarter of a second to read what is inherited
    inherited = [_read(base, known) for base in _all_bases(path)]
    moves = {}
    for name in replaced:
        root = cfg.get(name)
        if isinstance(root, str):
            moves |= {c[name]: root for c in inherited if isinstance(c.get(name), str) and c[name] != root}
    _move(cfg, moves, keep=tuple(moves.values()))
    origins = [c for c in inherited if _steps(c) == now]
    # A file that sets train_cfg.max_iters itself means it.
    if differ and origins and all(c.get(STEPS) != steps for c in origins):
        _set_steps(cfg, steps)
    return cfg


def _read(base: Path, known: dict[Path, Config]) -> Config:
    if base not in known:
        known[base] = _follow(Config.fromfile(base, import_custom_modules=False), base, known)
    return known[base]


def _replaced_roots(path: Path) -> set[str]:
    """Roots that are set in more than one of a config and what it inherits from."""
    names = Counter(name for file in [path, *_all_bases(path)] for name in set(_assigned(file)))
    return {name for name, times in names.items() if times > 1 and name.endswith("_root")}


def _all_bases(path: Path) -> list[Path]:
    """Files that a config inherits from, at any depth."""
    found = {}
    for name in _assigned(path).get("_base_", []):
        if "::" not in name:  # of another package, which does not name our folders
            base = (path.parent / name).resolve()
            found |= dict.fromkeys([base, *_all_bases(base)])
    return list(found)


def _assigned(path: Path) -> dict[str, list[str] | None]:
    """Names that a config sets by itself; for ``_base_``, the paths."""
    if path.suffix != ".py":
        return {}
    text = _VARIABLE.sub(lambda match: os.environ.get(match[1], match[2]), path.read_text(encoding="utf-8"))
    lines = [line for line in ast.parse(text).body if isinstance(line, ast.Assign)]
    names = {line.targets[0].id: line.value for line in lines if isinstance(line.targets[0], ast.Name)}
    return {name: _paths(value) if name == "_base_" else None for name, value in names.items()}


def _paths(value: ast.expr) -> list[str]:
    try:
        paths = ast.literal_eval(value)
    except ValueError:  # computed, which mmengine allows and nobody does
        return []
    return [paths] if isinstance(paths, str) else list(paths)


def _steps(cfg: Config) -> int | None:
    return (cfg.get("train_cfg") or {}).get(STEPS)


def _schedulers(cfg: Config) -> Iterator[tuple[str, ConfigDict]]:
    """Schedulers of the learning rate by the keys that lead to them."""
    schedule = cfg.get("param_scheduler") or []
    if isinstance(schedule, dict):
        yield "param_scheduler", schedule
    else:
        yield from ((f"param_scheduler.{i}", scheduler) for i, scheduler in enumerate(schedule))


def _set_steps(cfg: Config, steps: int) -> None:
    """Change the length of a training, and of the schedules that end with it."""
    before, cfg.train_cfg.max_iters = _steps(cfg), steps
    for _, scheduler in _schedulers(cfg):
        scheduler.update({key: steps for key in ("T_max", "end") if scheduler.get(key) == before})


def _warn_of_schedule(cfg: Config, options: Mapping[str, Any]) -> None:
    steps, before = options.get(f"train_cfg.{STEPS}"), _steps(cfg)
    if steps in (None, before) or any(key.endswith(".T_max") for key in options):
        return
    for key, scheduler in _schedulers(cfg):
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
        for key, value in cfg.items()
        if key.endswith("_root") and isinstance(value, str) and any(_lies_in(text, value) for text in texts)
    }
    if name not in used:
        known = " and ".join(f"{key} ({value})" for key, value in used.items())
        instead = known or "gt_root and lq_root of each data set, such as train_dataloader.dataset.gt_root"
        raise VSRError(f"{name}={root}: {cfg.filename} reads nothing from a {name}; set {instead} instead")
    return used[name]


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

    if moves:
        for loader in _LOADERS:
            if loader in cfg:
                cfg[loader] = moved(cfg[loader])
