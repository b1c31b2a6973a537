"""Testing on several data sets: which of a config are run, and the loop that gives each figures of its own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner

from vsr_plugin.data.clips import first_there
from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation import ClipQuality, QualityReport
from vsr_plugin.progress import clip_progress
from vsr_plugin.registry import LOOPS


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
        folder = next((root for root in _roots(sets[name][0]["dataset"]) if not root.exists()), None)
        if folder is None:
            chosen.append(sets[name])
        else:
            absent[name] = folder
    if not chosen:
        raise VSRError(
            f"no test set is on this machine: there is no {', no '.join(map(str, absent.values()))}; put the data "
            "there (docs/data.md), or name its folder: --cfg-options test_dataloader.0.dataset.gt_root=PATH"
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


def _roots(dataset: dict) -> Iterator[Path]:
    """Ground-truth folders of a data set, or of those that it is put together from."""
    if "gt_root" in dataset:
        yield first_there(dataset["gt_root"])
    for part in dataset.get("datasets", [dataset["dataset"]] if "dataset" in dataset else []):
        yield from _roots(part)


@LOOPS.register_module()
class MultiSetTestLoop(BaseLoop):
    """Restores and scores the clips of every test set.

    MMagic's ``MultiTestLoop`` does this for metrics that are made for it only; this one takes mmengine's, and shows how
    far it is within a clip.

    Args:
        runner: the runner; its model is a :class:`vsr_plugin.training.VideoRestorer`.
        dataloader: config of the data loader of the one test set, or a list with one for each set.
        evaluator: the same.

    Raises:
        VSRError: there are not as many evaluators as data loaders.
    """

    def __init__(self, runner: Runner, dataloader: dict | list[dict], evaluator: dict | list):
        if not isinstance(dataloader, list):
            dataloader, evaluator = [dataloader], [evaluator]
        if not isinstance(evaluator, list) or len(evaluator) != len(dataloader):
            raise VSRError(f"each of the {len(dataloader)} sets in test_dataloader needs an entry in test_evaluator")
        dataloaders = [runner.build_dataloader(cfg, seed=runner.seed) for cfg in dataloader]
        super().__init__(runner, dataloaders[0])
        self._sets: list[tuple[torch.utils.data.DataLoader, Evaluator]] = [
            (loader, runner.build_evaluator(cfg)) for loader, cfg in zip(dataloaders, evaluator, strict=True)
        ]

    @property
    def reports(self) -> list[QualityReport]:
        """Reports of the last run, on the main process, in the order of the sets."""
        metrics = [metric for _, evaluator in self._sets for metric in evaluator.metrics]
        return [metric.report for metric in metrics if isinstance(metric, ClipQuality) and metric.report is not None]

    def run(self) -> dict[str, float]:
        """Figures of all sets by name.

        Raises:
            VSRError: two sets have figures of one name.
        """
        runner = self.runner
        runner.call_hook("before_test")
        runner.call_hook("before_test_epoch")
        runner.model.eval()
        figures: dict[str, float] = {}
        for dataloader, evaluator in self._sets:
            # Hooks that log ask the runner for the data loader at hand.
            self.dataloader = dataloader
            self._run_set(evaluator)
            of_set = evaluator.evaluate(len(dataloader.dataset))
            if twice := figures.keys() & of_set.keys():
                raise VSRError(f"two test sets give a figure {min(twice)}; name the sets differently in test_evaluator")
            figures |= of_set
        runner.call_hook("after_test_epoch", metrics=figures)
        runner.call_hook("after_test")
        return figures

    @torch.no_grad()
    def _run_set(self, evaluator: Evaluator) -> None:
        runner = self.runner
        with self._progress() as begin:
            for i, batch in enumerate(self.dataloader):
                begin(batch)
                runner.call_hook("before_test_iter", batch_idx=i, data_batch=batch)
                outputs = runner.model.test_step(batch)
                evaluator.process(data_samples=outputs, data_batch=batch)
                runner.call_hook("after_test_iter", batch_idx=i, data_batch=batch, outputs=outputs)

    @contextmanager
    def _progress(self) -> Iterator[Callable[[dict], None]]:
        """A bar on the main process, which the model moves while it restores; gives what to call before each batch."""
        if not is_main_process():
            yield lambda batch: None
            return
        runner = self.runner
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        options = model.test_cfg

        def begin(batch: dict) -> None:
            clips = batch["inputs"]
            frames = sum(len(clip) for clip in clips)
            model.test_cfg = dict(options, progress=lambda done: bar.update(done * len(clips) / frames))

        try:
            with clip_progress(len(self.dataloader.sampler)) as bar:
                yield begin
        finally:
            model.test_cfg = options
