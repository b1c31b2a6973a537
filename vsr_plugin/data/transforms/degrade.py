"""Making LR frames within a pipeline."""

from __future__ import annotations

from mmcv.transforms import BaseTransform

from vsr_plugin.data.degradations import DEGRADATIONS
from vsr_plugin.registry import TRANSFORMS


@TRANSFORMS.register_module()
class Degrade(BaseTransform):
    """Makes ``img`` from ``gt`` by BI or BD, for pipelines that load ground truth only.

    :class:`~..clip_dataset.ClipDataset` needs no such step: it degrades what lies around a crop too, as if the
    whole frame had been degraded; here the crop's edge counts as the frame's.

    Required Keys:

    - gt, an array ``(h, w, 3)``, uint8 or floating point, or a list of them

    Added Keys:

    - img, of the same kind and dtype with sides ``ceil(h / scale)`` and ``ceil(w / scale)``

    Args:
        kind: ``'BI'`` or ``'BD'``.
        scale: ratio of the sides.

    Example:
        >>> import numpy as np
        >>> Degrade(kind="BD")(dict(gt=[np.zeros((8, 12, 3), np.uint8)]))["img"][0].shape
        (2, 3, 3)
    """

    def __init__(self, *, kind: str, scale: int = 4) -> None:
        if kind not in DEGRADATIONS:
            raise ValueError(f"`kind` must be one of {', '.join(DEGRADATIONS)}, got {kind!r}")
        self.kind = kind
        self.scale = scale

    def transform(self, results: dict) -> dict:
        """Add ``img``."""
        downsample = DEGRADATIONS[self.kind].downsample
        gt = results["gt"]
        is_list = isinstance(gt, list)
        results["img"] = [downsample(frame, self.scale) for frame in gt] if is_list else downsample(gt, self.scale)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(kind={self.kind!r}, scale={self.scale})"
