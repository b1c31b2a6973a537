"""How far steps of a quantiser that were estimated from frames are off."""

from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric

from vsr_plugin.registry import METRICS


@METRICS.register_module()
class StepError(BaseMetric):
    """Mean absolute error of estimated steps, in doublings, and the share of clips that are off by more than one."""

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Take the samples of a batch whose step is known."""
        for sample in data_samples:
            if sample["coarsest_step"] is not None and sample["estimated_step"] is not None:
                self.results.append(float(torch.tensor(sample["estimated_step"] / sample["coarsest_step"]).log2()))

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        """Mean over all samples."""
        errors = torch.tensor(results or [float("inf")]).abs()
        return dict(step_error=float(errors.mean()), off_by_more_than_one=float((errors > 1).float().mean()))
