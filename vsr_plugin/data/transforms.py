"""Transforms for MMagic's pipelines."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from torch import Tensor

from vsr_plugin.data.degradations import DEGRADATIONS
from vsr_plugin.data.footage import PRESETS, degrade_footage
from vsr_plugin.data.footage.step import weighted_choice
from vsr_plugin.registry import TRANSFORMS

#: Draws of a clip's degradation, at most, until it is as fine or coarse as asked for.
_DRAWS = 30


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


@TRANSFORMS.register_module()
class DegradeFootage(BaseTransform):
    """Makes ``img`` from ``gt`` as real footage would show it: noise, compression and whatever else its kind has.

    Draws from numpy's global generator once, which seeds everything else, or from nothing but ``seed``.

    Required Keys:

    - gt, a list of arrays ``(h, w, 3)`` of ``uint8``, a clip

    Added Keys:

    - img, a list of arrays ``(h / scale, w / scale, 3)`` of ``uint8``
    - quantiser_step, how coarsely a codec has quantised them, in 255ths, or ``None``
    - coarsest_step, of that codec or of one before it; 1 where there was none, or ``None``

    Args:
        presets: shares of the kinds of footage, see :data:`vsr_plugin.data.footage.PRESETS`; or the name of one.
        scale: ratio of the sides; 1 for what cleans and does not enlarge.
        seed: to degrade all clips by the same draws, for evaluation.
        quantiser_steps: the least and the most of ``quantiser_step``, where one is told, to train for fine or coarse
            footage alone. Others are drawn again, 30 times at most.

    Raises:
        ValueError: there is no such preset, or the least step is above the most.

    Example:
        >>> import numpy as np
        >>> DegradeFootage(presets=dict(web=0.7, clean=0.3), scale=4)(dict(gt=[np.zeros((64, 64, 3), np.uint8)] * 3))[
        ...     "img"
        ... ][2].shape
        (16, 16, 3)
    """

    def __init__(
        self,
        *,
        presets: str | dict[str, float],
        scale: int = 4,
        seed: int | None = None,
        quantiser_steps: tuple[float, float] = (0, float("inf")),
    ) -> None:
        self.presets = {presets: 1.0} if isinstance(presets, str) else dict(presets)
        for preset in self.presets:
            if preset not in PRESETS:
                raise ValueError(f"`presets` must be of {', '.join(PRESETS)}, got {preset!r}")
        self.scale = scale
        self.seed = seed
        self.quantiser_steps = least, most = quantiser_steps
        if least > most:
            raise ValueError(f"`quantiser_steps` must be the least and the most, got {quantiser_steps}")

    def transform(self, results: dict) -> dict:
        """Add ``img``."""
        seed = np.random.randint(2**32, dtype=np.uint64) if self.seed is None else self.seed
        rng = np.random.default_rng(seed)
        least, most = self.quantiser_steps
        for _ in range(_DRAWS):
            preset = weighted_choice(rng, tuple(self.presets), tuple(self.presets.values()))
            clip = degrade_footage(results["gt"], preset, rng, scale=self.scale)
            if clip.quantiser_step is None or least <= clip.quantiser_step <= most:
                break
        results.update(img=list(clip.frames), quantiser_step=clip.quantiser_step, coarsest_step=clip.coarsest_step)
        return results

    def __repr__(self) -> str:
        values = f"presets={self.presets}, scale={self.scale}, seed={self.seed}, quantiser_steps={self.quantiser_steps}"
        return f"{type(self).__name__}({values})"


@TRANSFORMS.register_module()
class Recolour(BaseTransform):
    """Changes the colours, contrast and brightness of whole clips, so that few photographs stand for many.

    For what looks at traces of codecs and not at what a picture shows; before :class:`DegradeFootage`.

    Required Keys:

    - gt, a list of arrays ``(h, w, 3)`` of ``uint8``, a clip

    Args:
        probability: share of clips that are changed.
        contrast: range of the factor by which values differ from the clip's mean, the same for all channels.
        brightness: largest change of the mean, in 255ths.
        gamma: largest power, and one over it the smallest, drawn as a logarithm.
        grey: share of clips that lose their colours, half of which are tinted by that power.

    Example:
        >>> import numpy as np
        >>> Recolour()(dict(gt=[np.zeros((8, 12, 3), np.uint8)] * 2))["gt"][1].shape
        (8, 12, 3)
    """

    def __init__(
        self,
        *,
        probability: float = 0.8,
        contrast: tuple[float, float] = (0.3, 1.4),
        brightness: float = 50.0,
        gamma: float = 1.8,
        grey: float = 0.2,
    ) -> None:
        self.probability, self.contrast, self.grey = probability, contrast, grey
        self.brightness, self.gamma = brightness, gamma

    def transform(self, results: dict) -> dict:
        """Change ``gt``."""
        if np.random.random() >= self.probability:
            return results
        clip = np.stack(results["gt"])[..., np.random.permutation(3)].astype(np.float32)
        power = self.gamma ** np.random.uniform(-1, 1, 3).astype(np.float32)
        if np.random.random() < self.grey:
            clip = np.repeat(clip @ np.float32([0.299, 0.587, 0.114])[:, None], 3, axis=-1)
            power = power if np.random.random() < 0.5 else power[:1]
        clip = 255 * (clip / 255) ** power
        mean = clip.mean(axis=(0, 1, 2))
        shift = np.float32(np.random.uniform(-1, 1) * self.brightness)
        clip = (clip - mean) * np.float32(np.random.uniform(*self.contrast)) + mean + shift
        results["gt"] = list(clip.round().clip(0, 255).astype(np.uint8))
        return results

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(probability={self.probability}, contrast={self.contrast}, "
            f"brightness={self.brightness}, gamma={self.gamma}, grey={self.grey})"
        )


@TRANSFORMS.register_module()
class SharpenTruth(BaseTransform):
    """Sharpens ground truth by an unsharp mask, where that is no noise (as Real-ESRGAN does, arXiv 2107.10833).

    What comes after it, losses and degradations, sees the sharpened frames, as in RealBasicVSR.

    Required Keys:

    - gt, a list of arrays ``(h, w, 3)`` of ``uint8``

    Modified Keys:

    - gt

    Added Keys:

    - gt_plain, the frames as they were, if ``keep_plain``

    Args:
        keep_plain: for a discriminator, which is not to take sharpened frames for real.
        kernel_size: of the Gaussian, odd; its standard deviation is 0.15 of it and a little more, OpenCV's rule.
        weight: share of the details that is added.
        threshold: details smaller than this, in 255ths, are noise.

    Raises:
        ValueError: ``kernel_size`` is not odd.
    """

    def __init__(
        self, *, keep_plain: bool = False, kernel_size: int = 51, weight: float = 0.5, threshold: float = 10
    ) -> None:
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` must be odd, got {kernel_size}")
        self.keep_plain, self.kernel_size, self.weight, self.threshold = keep_plain, kernel_size, weight, threshold

    def transform(self, results: dict) -> dict:
        """Sharpen."""
        if self.keep_plain:
            results["gt_plain"] = results["gt"]
        results["gt"] = [self._sharpened(frame) for frame in results["gt"]]
        return results

    def _sharpened(self, frame: np.ndarray) -> np.ndarray:
        frame = frame.astype(np.float32)
        details = frame - self._blurred(frame)
        # Soft, so that no edge shows where details begin to count.
        share = self._blurred((np.abs(details) > self.threshold).astype(np.float32))
        sharpened = np.clip(frame + self.weight * details, 0, 255)
        return np.rint(frame + share * (sharpened - frame)).astype(np.uint8)

    def _blurred(self, frame: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(frame, (self.kernel_size, self.kernel_size), 0)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(keep_plain={self.keep_plain}, kernel_size={self.kernel_size}, "
            f"weight={self.weight}, threshold={self.threshold})"
        )


@TRANSFORMS.register_module()
class PackInputs(BaseTransform):
    """Packs sequences as MMagic's transform of this name does, which loses the time axis of clips of one frame.

    Required Keys:

    - img, a list of arrays ``(h, w, 3)``
    - gt, the same, may be absent, and so may gt_plain, see :class:`SharpenTruth`
    - key, name of the clip, frames, the numbers of its frames, and quantiser_step and coarsest_step, see
      :class:`DegradeFootage`; may be absent

    Returns:
        ``dict(inputs=tensor (t, 3, h, w), data_samples=DataSample)`` in the arrays' dtype, the sample with ``gt_img``
        ``(t, 3, H, W)``, perhaps ``gt_plain``, and those of ``key``, ``frames``, ``quantiser_step``, ``coarsest_step``,
        ``img_channel_order``, ``gt_channel_order`` that there are as meta information.
    """

    _META_KEYS = ("key", "frames", "quantiser_step", "coarsest_step", "img_channel_order", "gt_channel_order")

    def transform(self, results: dict) -> dict:
        """Pack."""
        # Imports the runner and all that belongs to it; who only wants a degradation need not wait.
        from mmagic.structures import DataSample

        sample = DataSample(metainfo={key: results[key] for key in self._META_KEYS if key in results})
        for key, field in (("gt", "gt_img"), ("gt_plain", "gt_plain")):
            if key in results:
                sample.set_tensor_data({field: to_tensor(results[key])})
        return dict(inputs=to_tensor(results["img"]), data_samples=sample)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def to_tensor(frames: list[np.ndarray]) -> Tensor:
    """Stack arrays ``(h, w, 3)`` to ``(t, 3, h, w)``."""
    h, w, c = frames[0].shape
    # Frames may be views with negative strides, which PyTorch does not take: MMagic turns BGR to RGB so.
    tensor = torch.from_numpy(np.empty((len(frames), c, h, w), frames[0].dtype))
    planes = tensor.numpy()
    for i, frame in enumerate(frames):
        planes[i] = frame.transpose(2, 0, 1)
    return tensor
