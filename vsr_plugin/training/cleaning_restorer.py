"""The model around a network that cleans frames first, trained as RealBasicVSR: both stages."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmagic.structures import DataSample
from torch import Tensor

from vsr_plugin.errors import VSRError
from vsr_plugin.models.cleaning import told
from vsr_plugin.registry import MODELS
from vsr_plugin.training.video_restorer import (
    GENERATOR,
    UNNAMED_CHECKPOINT,
    SequencePreprocessor,
    VideoRestorer,
    quantiser_steps,
)
from vsr_plugin.weights import fit_to_net

#: Prefix of the moving average's tensors in a checkpoint.
GENERATOR_EMA = "generator_ema."


@MODELS.register_module()
class SharpenedPreprocessor(SequencePreprocessor):
    """Stacks, in training, the ground truth as it was before it was sharpened as well: ``plain_gts``, like ``gts``.

    It is where samples have ``gt_plain``; see :class:`vsr_plugin.data.transforms.SharpenTruth`.

    Args:
        non_blocking: see :class:`SequencePreprocessor`.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """See :meth:`SequencePreprocessor.forward`."""
        batch = super().forward(data, training)
        if training and all("gt_plain" in sample for sample in data["data_samples"]):
            batch["plain_gts"] = self._to_unit_range([sample.gt_plain for sample in data["data_samples"]])
        return batch


@MODELS.register_module()
class CleaningRestorer(VideoRestorer):
    """RealBasicVSR's training (arXiv 2111.12704): with the first two losses its first stage, with all the second.

    All losses are summed, and one optimiser takes one step for generator and discriminator together. Since Adam treats
    every parameter by itself, and both losses are of the weights before the step, that is the same as a step of each
    with an optimiser of its own, as MMagic's ``RealBasicVSR`` takes them; and processes exchange gradients, skip steps
    and accumulate as with any other model. The price is memory: both graphs are there at once.

    Tests use the moving average of the generator, which MMagic's ``ExponentialMovingAverageHook`` keeps
    (``module_keys='generator_ema'``); this package's runner trains no such model without it.

    Args:
        generator: config of the network, one with a ``cleaning``.
        pixel_loss: config of the loss between restored sequence and ground truth.
        cleaning_loss: config of that between cleaned frames and ground truth reduced by area.
        perceptual_loss: config of that between features of both, such as
            :class:`~vsr_plugin.training.losses.PerceptualLoss`.
        gan_loss: config of MMagic's ``GANLoss``; its weight is the generator's only.
        discriminator: config of the discriminator, which gets frames ``(n, 3, h, w)``; with ``gan_loss``.
        data_preprocessor: config of the preprocessor; by default :class:`SharpenedPreprocessor`.
        frozen, test_cfg, init_cfg, accelerate: see :class:`VideoRestorer`.

    Raises:
        VSRError: the network cleans nothing, or there is a discriminator without a loss or a loss without.
    """

    def __init__(
        self,
        generator: dict,
        pixel_loss: dict,
        cleaning_loss: dict | None = None,
        perceptual_loss: dict | None = None,
        gan_loss: dict | None = None,
        discriminator: dict | None = None,
        data_preprocessor: dict | None = None,
        frozen: Sequence[str] = (),
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
        *,
        accelerate: bool = True,
    ):
        if (gan_loss is None) != (discriminator is None):
            raise VSRError("`gan_loss` and `discriminator` belong together; give both, or leave both out")
        preprocessor = data_preprocessor or dict(type="SharpenedPreprocessor")
        super().__init__(generator, pixel_loss, preprocessor, frozen, test_cfg, init_cfg, accelerate=accelerate)
        if getattr(self.generator, "cleaning", None) is None:
            raise VSRError(
                f"{type(self.generator).__name__} has no cleaning to be trained; take RealBasicVSRNet, or give it one: "
                "model.generator.cleaning='footage'"
            )
        self.generator_ema = copy.deepcopy(self.generator).requires_grad_(False)
        # It starts as a copy of the generator, however that starts.
        self.generator_ema.is_init = True
        optional = dict(
            cleaning_loss=cleaning_loss,
            perceptual_loss=perceptual_loss,
            gan_loss=gan_loss,
            discriminator=discriminator,
        )
        for name, cfg in optional.items():
            setattr(self, name, None if cfg is None else MODELS.build(cfg))

    def init_weights(self) -> None:
        """See mmengine's ``BaseModule``; the moving average starts as the generator does."""
        super().init_weights()
        self.generator_ema.load_state_dict(self.generator.state_dict())

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = "tensor",
        gts: Tensor | None = None,
        plain_gts: Tensor | None = None,
    ) -> Any:
        """See :meth:`VideoRestorer.forward`.

        Args:
            inputs, data_samples, mode, gts: as there.
            plain_gts: what the discriminator is to take for real, where ``gts`` were sharpened; ``gts`` by default.
        """
        if mode == "loss":
            with told(self.generator, quantiser_steps(data_samples)):
                return self.losses(inputs, gts, gts if plain_gts is None else plain_gts)
        return super().forward(inputs, data_samples, mode, gts)

    def losses(self, lrs: Tensor, gts: Tensor, plain_gts: Tensor) -> dict[str, Tensor]:
        """Every loss by its name in MMagic, weighted; to be summed.

        Args:
            lrs: RGB in [0, 1], ``(n, t, 3, h, w)``.
            gts: ground truth ``(n, t, 3, H, W)``, sharpened if it is to be.
            plain_gts: the same, not sharpened, for the discriminator.
        """
        with self.trained_generator() as generator:
            cleaned = generator.clean(lrs)
            restored = torch.stack(list(generator.restore_cleaned(cleaned)), dim=1).flatten(0, 1)
        gts, plain_gts = gts.flatten(0, 1), plain_gts.flatten(0, 1)
        losses = dict(loss_pix=self.pixel_loss(restored, gts))
        if self.cleaning_loss is not None:
            small = F.interpolate(gts, cleaned.shape[-2:], mode="area")
            losses["loss_clean"] = self.cleaning_loss(cleaned.flatten(0, 1), small)
        if self.perceptual_loss is not None:
            losses["loss_perceptual"] = self.perceptual_loss(restored, gts)
        if self.discriminator is not None:
            losses |= self._adversarial_losses(restored, plain_gts)
        return losses

    def _adversarial_losses(self, restored: Tensor, gts: Tensor) -> dict[str, Tensor]:
        """The generator's loss, which is none of the discriminator's parameters, and the discriminator's two."""
        self.discriminator.requires_grad_(False)
        seen = self.discriminator(restored)
        self.discriminator.requires_grad_(True)
        real, fake = self.discriminator(gts), self.discriminator(restored.detach())
        return dict(
            loss_gan=self.gan_loss(seen, target_is_real=True, is_disc=False),
            loss_d_real=self.gan_loss(real, target_is_real=True, is_disc=True),
            loss_d_fake=self.gan_loss(fake, target_is_real=False, is_disc=True),
        )

    @property
    def tested_generator(self) -> nn.Module:
        """See :attr:`VideoRestorer.tested_generator`."""
        return self.generator_ema

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *details: Any) -> None:
        """See :meth:`VideoRestorer._load_from_state_dict`; of one network alone, both take the weights.

        Raises:
            WeightsError: they do not fit.
        """
        averaged: dict[str, Tensor] = {}
        # Inside another model the keys are that model's.
        if not prefix:
            found = {key: tensor for key, tensor in state_dict.items() if key.startswith(GENERATOR_EMA)}
            averaged = fit_to_net(self.generator_ema, found or state_dict, UNNAMED_CHECKPOINT)
            if any(key.startswith(GENERATOR) for key in state_dict):
                # The generator would take them, as who only wants one network does.
                for key in found:
                    del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *details)
        state_dict.update({GENERATOR_EMA + key: tensor for key, tensor in averaged.items()})
