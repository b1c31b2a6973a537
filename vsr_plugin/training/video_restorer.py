"""The model around a network: loss in training, whole sequences in bounded memory in evaluation, any weights."""

import contextlib
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from mmagic.structures import DataSample
from mmengine.logging import print_log
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import Tensor

from vsr_plugin.acceleration import accelerate_training, training_path
from vsr_plugin.errors import not_finite
from vsr_plugin.inference import restore_frames
from vsr_plugin.inference.cleaning import clean_sequence
from vsr_plugin.models.cleaning import Cleaning, told
from vsr_plugin.registry import MODELS
from vsr_plugin.weights import fit_to_net

#: Prefix of the network's tensors in a checkpoint.
GENERATOR = "generator."
#: What a checkpoint is called in errors where only its tensors are known.
UNNAMED_CHECKPOINT = "the checkpoint"


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


@MODELS.register_module()
class VideoRestorer(BaseModel):
    """A network of this package in the OpenMMLab runner.

    Its checkpoints hold the network under ``generator.``, as MMagic's own do, so that each loads the other's.

    Args:
        generator: config of the network, ``dict(type='BasicVSRNet', ...)``.
        pixel_loss: config of the loss between restored sequence and ground truth, over all frames.
        data_preprocessor: config of the preprocessor.
        frozen: names of modules that are never trained, such as ``'generator.spynet'``; saves their backward pass. For
            a number of steps only there is :class:`vsr_plugin.training.FreezeModules`.
        test_cfg: options of :func:`vsr_plugin.inference.restore_frames` for evaluation, such as ``precision`` or
            ``memory_budget``.
        accelerate: whether kernels of our own compute what they can of a training step, see
            :func:`vsr_plugin.acceleration.accelerate_training`.
        init_cfg: initialisation of the whole model; the network's own ``init_cfg`` is the usual place.
    """

    def __init__(
        self,
        generator: dict,
        pixel_loss: dict,
        data_preprocessor: dict | None = None,
        frozen: Sequence[str] = (),
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
        *,
        accelerate: bool = True,
    ):
        # mmengine would look the preprocessor up in whatever scope is the default just now.
        super().__init__(MODELS.build(data_preprocessor or dict(type="SequencePreprocessor")), init_cfg)
        self.generator = MODELS.build(generator)
        self.pixel_loss = MODELS.build(pixel_loss)
        for name in frozen:
            self.get_submodule(name).requires_grad_(False)
        self.test_cfg = dict(test_cfg or {})
        self.accelerate = accelerate
        self._path_is_known = False

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = "tensor",
        gts: Tensor | None = None,
    ) -> Any:
        """Run the network in one of mmengine's three modes.

        Args:
            inputs: LR sequences, RGB in [0, 1], ``(n, t, 3, h, w)``.
            data_samples: one for every sequence; needed to predict.
            mode: ``'loss'``, ``'predict'`` or ``'tensor'``.
            gts: ground truth in [0, 1], ``(n, t, 3, scale * h, scale * w)``; needed for the loss.

        Returns:
            ``dict(loss=...)``; or the data samples, see :meth:`predict`; or the restored sequences
            ``(n, t, 3, scale * h, scale * w)``. These are what the network gives where gradients are recorded, and
            otherwise those of :meth:`restore`: MMagic's inferencers ask for whole videos in this mode.

        Raises:
            ValueError: there is no such mode.
        """
        if mode == "tensor":
            return self.generator(inputs) if torch.is_grad_enabled() else self.restore(inputs)
        if mode == "predict":
            return self.predict(inputs, data_samples)
        if mode == "loss":
            with told(self.generator, quantiser_steps(data_samples)), self.trained_generator() as generator:
                return dict(loss=self.pixel_loss(generator(inputs), gts))
        raise ValueError(f"`mode` must be 'loss', 'predict' or 'tensor', got {mode!r}")

    @contextlib.contextmanager
    def trained_generator(self) -> Iterator[nn.Module]:
        """The generator, or what computes a training step of it faster; once, what that was is logged."""
        yield accelerate_training(self.generator) if self.accelerate else self.generator
        if not self._path_is_known:
            self._path_is_known = True
            path = training_path(self.generator) if self.accelerate else "PyTorch's operators (accelerate=False)"
            print_log(f"convolutions are trained by {path}", "current")

    @torch.no_grad()
    def restore(self, inputs: Tensor) -> Tensor:
        """Restore whole sequences in bounded memory, except for the result itself.

        Args:
            inputs: LR sequences, RGB in [0, 1], ``(n, t, 3, h, w)``.

        Returns:
            ``(n, t, 3, scale * h, scale * w)``, or of the size that ``test_cfg`` asks for, clipped to [0, 1], on the
            CPU.
        """
        n, t, c, _, _ = inputs.shape
        result = inputs.new_empty(0, device="cpu")
        for k, lrs in enumerate(inputs):
            for i, hr in enumerate(self._restored(lrs)):
                if not result.numel():
                    result = inputs.new_empty((n, t, c, *hr.shape[-2:]), device="cpu")
                result[k, i] = hr
        return result

    def predict(self, inputs: Tensor, data_samples: list[DataSample]) -> list[DataSample]:
        """Restore whole sequences, as the paper does at inference, in bounded memory.

        Args:
            inputs: LR sequences, RGB in [0, 1], ``(n, t, 3, h, w)``.
            data_samples: one for every sequence.

        Returns:
            The same, with ``input`` ``(t, 3, h, w)`` and ``output.pred_img`` ``(t, 3, scale * h, scale * w)``, RGB,
            ``uint8`` on the CPU. Of a mirrored sequence with ground truth for its first half, ``pred_img`` has
            ``t / 2`` frames, each the mean of its two restorations, as MMagic's ``BasicVSR`` scores Vimeo-90K-T.
        """
        for lrs, sample in zip(inputs, data_samples, strict=True):
            sample.set_tensor_data(dict(input=to_bytes(lrs)))
            gt = sample.get("gt_img")
            restored = self._restored(lrs, sample.get("quantiser_step"))
            if gt is not None and len(lrs) == 2 * len(gt) and torch.equal(lrs, lrs.flip(0)):
                restored = _mean_of_both_ways(restored, len(gt))
            # Frame by frame, since a hundred float frames of 720p are a gigabyte.
            sample.output = DataSample(pred_img=torch.stack([to_bytes(frame) for frame in restored]))
        return data_samples

    @property
    def tested_generator(self) -> nn.Module:
        """The network that evaluation runs."""
        return self.generator

    def _restored(self, lrs: Tensor, quantiser_step: float | None = None) -> Iterator[Tensor]:
        net = self.tested_generator
        with told(net, quantiser_step):
            if isinstance(net, Cleaning):
                yield from self._cleaned(lrs)
            else:
                yield from restore_frames(net, iter(lrs), num_frames=len(lrs), **self.test_cfg)

    def _cleaned(self, lrs: Tensor) -> Iterator[Tensor]:
        # Frame by frame, since the layers of a whole clip would not fit.
        with tempfile.TemporaryDirectory(prefix="vsr_plugin-") as folder:
            for i, frame in enumerate(clean_sequence(self.generator, lrs, Path(folder), in_memory=len(lrs))):
                if not torch.isfinite(frame).all():
                    raise not_finite(i)
                yield frame

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *details: Any) -> None:
        """Take weights of any published layout, and none that do not fit, wherever mmengine or PyTorch load them.

        mmengine only warns of weights that do not fit, and goes on with random ones. Who wants a part of some weights
        loads them into the network itself.

        Raises:
            WeightsError: they do not fit.
        """
        # Inside another model the keys are that model's.
        if not prefix:
            others = {
                key: state_dict[key] for key in self.state_dict() if key in state_dict and not key.startswith(GENERATOR)
            }
            tensors = fit_to_net(self.generator, state_dict, UNNAMED_CHECKPOINT)
            state_dict.clear()
            state_dict.update(others, **{GENERATOR + key: tensor for key, tensor in tensors.items()})
        super()._load_from_state_dict(state_dict, prefix, *details)


def quantiser_steps(data_samples: list[DataSample] | None) -> Tensor | None:
    """For each sequence, how coarsely its codec quantised it; ``nan`` where that is not known."""
    steps = [sample.get("quantiser_step") for sample in data_samples or ()]
    known = any(step is not None for step in steps)
    return torch.tensor([torch.nan if step is None else step for step in steps]) if known else None


def _mean_of_both_ways(frames: Iterator[Tensor], count: int) -> list[Tensor]:
    """Fold ``2 * count`` frames of a mirrored sequence into ``count``."""
    means = list(itertools.islice(frames, count))
    for i, again in zip(reversed(range(count)), frames, strict=True):
        means[i] = (means[i] + again) / 2
    return means


def to_bytes(frames: Tensor) -> Tensor:
    """RGB in [0, 1] as rounded ``uint8`` on the CPU."""
    return frames.detach().clamp(0, 1).mul(255).round_().to("cpu", torch.uint8)
