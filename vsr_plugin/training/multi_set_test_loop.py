"""The test loop: several data sets one after the other, each with figures of its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from mmengine.dist import is_main_process
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner

from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation import ClipQuality, QualityReport
from vsr_plugin.progress import clip_progress
from vsr_plugin.registry import LOOPS


@LOOPS.register_module()
class MultiSetTestLoop(BaseLoop):
    """Restores and scores the clips of every test set.

    MMagic's ``MultiTestLoop`` does this for metrics that are made for it only; this one takes mmengine's, and shows how
    far it is within a clip.

    Args:
        runner: the runner; its model is a :class:`vsr_plugin.models.VideoRestorer`.
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
