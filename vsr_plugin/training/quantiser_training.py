"""The model around the network that tells how coarsely frames are quantised."""

import torch
from mmagic.structures import DataSample
from torch import Tensor

from vsr_plugin.models.quantiser_estimator import mean_doublings
from vsr_plugin.registry import MODELS
from vsr_plugin.training.video_restorer import VideoRestorer


@MODELS.register_module()
class QuantiserTraining(VideoRestorer):
    """Trains a :class:`~vsr_plugin.models.quantiser_estimator.QuantiserEstimator`, frame by frame.

    Samples bring ``coarsest_step``, see :class:`~vsr_plugin.data.transforms.DegradeFootage`; those without are left
    out. Two losses: of each place, which learns its error's scale with its step, and of the mean over a frame, in
    which places that are wrong and sure of it weigh most.

    Args:
        generator: config of the network.
        data_preprocessor, init_cfg: see :class:`VideoRestorer`.
    """

    def __init__(self, generator: dict, data_preprocessor: dict | None = None, init_cfg: dict | None = None):
        super().__init__(generator, dict(type="L1Loss"), data_preprocessor, init_cfg=init_cfg, accelerate=False)

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = "tensor",
        gts: Tensor | None = None,
    ) -> dict[str, Tensor] | list[DataSample] | tuple[Tensor, Tensor]:
        """Run the network in one of mmengine's three modes.

        Args:
            inputs: sequences, RGB in [0, 1], ``(n, t, 3, h, w)``.
            data_samples: one for every sequence, with ``coarsest_step``; needed but for ``'tensor'``.
            mode: ``'loss'``, ``'predict'`` or ``'tensor'``.
            gts: not looked at.

        Returns:
            The losses; or the data samples with ``estimated_step``; or what the network gives for all frames.
        """
        if mode == "loss":
            return self._losses(inputs, data_samples)
        if mode == "predict":
            for lrs, sample in zip(inputs, data_samples, strict=True):
                sample.set_metainfo(dict(estimated_step=self.generator.step(lrs)))
            return data_samples
        return self.generator(inputs.flatten(0, 1))

    def _losses(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Tensor]:
        steps = [sample.coarsest_step or torch.nan for sample in data_samples]
        target = torch.log2(torch.tensor(steps, device=inputs.device)).repeat_interleave(inputs.size(1))
        known = ~target.isnan()
        doublings, log_scale = self.generator(inputs.flatten(0, 1))
        target = target.nan_to_num()
        of_places = (doublings - target.view(-1, 1, 1, 1)).abs() * torch.exp(-log_scale) + log_scale
        of_frames = (mean_doublings(doublings, log_scale) - target).abs()
        number = known.sum().clamp(min=1)
        return dict(
            loss_places=(of_places.mean(dim=(1, 2, 3)) * known).sum() / number,
            loss_frames=(of_frames * known).sum() / number,
        )
