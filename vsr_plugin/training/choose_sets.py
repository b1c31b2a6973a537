"""Which test sets of a config are run: those that were asked for and are on this machine."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from vsr_plugin.errors import VSRError


def choose_test_sets(cfg: Config, only: Sequence[str] | None = None) -> list[str]:
    """Leave in ``test_dataloader`` and ``test_evaluator`` of a config the sets that can be run.

    Args:
        cfg: an experiment; of it the two are changed to lists.
        only: names of sets, as their ``ClipQuality`` has them; all by default.

    Returns:
        A line for each set that is left out because its folder is absent.

    Raises:
        VSRError: the config has no test set, or none of a name that was asked for, or all are absent.
    """
    loaders, evaluators = cfg.get("test_dataloader"), cfg.get("test_evaluator")
    if not loaders or not evaluators:
        raise VSRError(f"{cfg.filename}: has no test_dataloader and test_evaluator; there is nothing to test")
    if not isinstance(loaders, list):
        loaders, evaluators = [loaders], [evaluators]
    if not isinstance(evaluators, list) or len(loaders) != len(evaluators):
        raise VSRError(f"{cfg.filename}: each of the {len(loaders)} test_dataloader needs a test_evaluator of its own")
    pairs = zip(loaders, evaluators, strict=True)
    sets = {_name(evaluator, i): (loader, evaluator) for i, (loader, evaluator) in enumerate(pairs)}
    if len(sets) < len(loaders):
        raise VSRError(f"{cfg.filename}: two test sets have one name; name them differently in test_evaluator")
    for name in only or ():
        if name not in sets:
            raise VSRError(f"--only {name}: the config has no test set of that name; it has {', '.join(sets)}")
    absent, chosen = {}, []
    for name in dict.fromkeys(only or sets):
        folder = next((root for root in _roots(sets[name][0]["dataset"]) if not Path(root).exists()), None)
        if folder is None:
            chosen.append(sets[name])
        else:
            absent[name] = folder
    if not chosen:
        raise VSRError(
            f"no test set is on this machine: there is no {', no '.join(absent.values())}; put the data there "
            "(docs/data.md), or name its folder: --cfg-options test_dataloader.0.dataset.gt_root=PATH"
        )
    cfg.test_dataloader, cfg.test_evaluator = map(list, zip(*chosen, strict=True))
    return [f"{name}: left out, there is no {folder} on this machine" for name, folder in absent.items()]


def quality_metrics(cfg: Config) -> Iterator[dict]:
    """Configs of the ``ClipQuality`` in ``test_evaluator``, which :func:`choose_test_sets` made a list."""
    for evaluator in cfg.test_evaluator:
        for metric in _metrics(evaluator):
            if metric["type"] == "ClipQuality":
                yield metric


def _metrics(evaluator: Any) -> list[dict]:
    """The metrics of one evaluator, in any of the forms that mmengine takes."""
    if isinstance(evaluator, dict) and "metrics" in evaluator:
        evaluator = evaluator["metrics"]
    return evaluator if isinstance(evaluator, list) else [evaluator]


def _name(evaluator: Any, index: int) -> str:
    metric = _metrics(evaluator)[0]
    return metric.get("dataset") or metric.get("prefix") or f"test set {index}"


def _roots(dataset: dict) -> Iterator[str]:
    """Ground-truth folders of a data set, or of those that it is put together from."""
    if "gt_root" in dataset:
        yield dataset["gt_root"]
    for part in dataset.get("datasets", [dataset["dataset"]] if "dataset" in dataset else []):
        yield from _roots(part)
