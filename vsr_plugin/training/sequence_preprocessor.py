"""From the samples of a data set to the tensors that a network takes."""

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from vsr_plugin.registry import MODELS


@MODELS.register_module()
class SequencePreprocessor(BaseDataPreprocessor):
    """Moves sequences to the device as bytes and scales them to [0, 1] there.

    Args:
        non_blocking: let the copy overlap with computing; pays where the data loader pins memory.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Stack a batch.

        Args:
            data: ``inputs``: RGB sequences ``(t, 3, h, w)`` of ``uint8``, or floating point in [0, 1], a list or
                already stacked; ``data_samples``: as many, ``None`` or absent where there is no ground truth.
            training: stack the ground truths as well; otherwise they stay where and what they are.

        Returns:
            ``inputs`` ``(n, t, 3, h, w)``, ``data_samples`` as given, and in training ``gts`` ``(n, t, 3, H, W)``,
            both floating point in [0, 1].
        """
        data_samples = data.get("data_samples")
        batch = dict(inputs=self._to_unit_range(data["inputs"]), data_samples=data_samples)
        if training:
            batch["gts"] = self._to_unit_range([sample.gt_img for sample in data_samples])
        return batch

    def _to_unit_range(self, sequences: list[Tensor] | Tensor) -> Tensor:
        stacked = torch.stack(list(sequences))
        on_device = stacked.to(self.device, non_blocking=self._non_blocking)
        return on_device.float().div_(255) if stacked.dtype == torch.uint8 else on_device.float()
