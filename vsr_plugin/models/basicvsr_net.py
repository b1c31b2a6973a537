"""BasicVSR (Chan et al., CVPR 2021, arXiv 2012.02181, section 3.1)."""

from collections.abc import Mapping
from typing import Any

from vsr_plugin.models.propagation import Bidirectional
from vsr_plugin.models.spynet import PUBLISHED_WIDTH
from vsr_plugin.models.vsr_net import VSRNet
from vsr_plugin.registry import MODELS


@MODELS.register_module()
class BasicVSRNet(VSRNet):
    """BasicVSR: bidirectional propagation, feature alignment by flow, concatenation, pixel shuffle.

    ``forward`` maps RGB sequences in [0, 1] ``(n, t, 3, h, w)`` to ``(n, t, 3, scale * h, scale * w)``. The published
    network is the default; among the other choices are those that the paper compares it with, see docs/components.md.

    Args:
        mid_channels: channels of the propagated features.
        num_blocks: residual blocks in each branch.
        with_cp: gradient checkpointing: training holds the propagated features only and computes the insides of
            every step twice.
        spynet_pretrained: name, path or address of SPyNet weights that ``init_weights()`` loads.
        init_cfg: ``dict(type='Pretrained', checkpoint='basicvsr_reds4')`` for the weights of the whole network.
        propagation: ``'local'``, ``'unidirectional'``, ``'bidirectional'``, ``'coupled'``, ``'second_order'``,
            ``'grid'``, ``'second_order_grid'``, or one of your own.
        segments: for local propagation, the number of segments that a sequence is cut into.
        alignment: ``'none'``, ``'image'``, ``'feature'``, ``'deformable'``, or one of your own; with its arguments as
            ``dict(type=..., ...)``.
        forgetting: share of its propagated features that a still pixel loses per frame, against drift in long shots.
        cleaning: ``'footage'`` or ``'image'`` to clean frames before they are propagated, or one of your own.
        scale: HR pixels per LR pixel and side: 2, 3, 4 or 8. Weights are published for 4 only.
        spynet_width: see :class:`~vsr_plugin.models.spynet.SPyNet`; for experiments that are to be quick.

    Raises:
        ComponentError: components do not exist or do not go together, ``forgetting`` is not in [0, 1), or there
            is no such scale.

    Example:
        >>> net = BasicVSRNet(mid_channels=8, num_blocks=1)
        >>> net(torch.rand(1, 2, 3, 16, 24)).shape
        torch.Size([1, 2, 3, 64, 96])
    """

    published_propagation = Bidirectional

    def __init__(
        self,
        mid_channels: int = 64,
        num_blocks: int = 30,
        with_cp: bool = False,
        spynet_pretrained: str | None = None,
        init_cfg: dict | None = None,
        *,
        propagation: str = "bidirectional",
        segments: int | None = None,
        alignment: str | Mapping[str, Any] = "feature",
        forgetting: float = 0.0,
        cleaning: str | Mapping[str, Any] | None = None,
        scale: int = 4,
        spynet_width: int = PUBLISHED_WIDTH,
    ):
        super().__init__(
            mid_channels,
            propagation=propagation,
            segments=segments,
            alignment=alignment,
            forgetting=forgetting,
            cleaning=cleaning,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
        self.build_flow(spynet_pretrained, spynet_width)
        self.build_branches(num_blocks)
        self.build_upsampling(mid_channels, scale)
