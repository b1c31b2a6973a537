"""IconVSR (Chan et al., CVPR 2021, arXiv 2012.02181, section 3.2): refill and coupled propagation."""

from collections.abc import Mapping
from typing import Any

from vsr_plugin.models.aggregation import InformationRefill
from vsr_plugin.models.propagation import Coupled
from vsr_plugin.models.spynet import PUBLISHED_WIDTH
from vsr_plugin.models.vsr_net import VSRNet
from vsr_plugin.registry import MODELS


@MODELS.register_module()
class IconVSRNet(InformationRefill, VSRNet):
    """IconVSR: BasicVSR with information-refill at keyframes and coupled propagation.

    ``forward`` maps RGB sequences in [0, 1] ``(n, t, 3, h, w)`` to ``(n, t, 3, scale * h, scale * w)``. The published
    network is the default; among the other choices are those that the paper compares it with, see docs/components.md.

    Args:
        mid_channels: channels of the propagated features and of the extractor.
        num_blocks: residual blocks in each branch.
        keyframe_stride: every that many frames, and the last frame, are keyframes; ``None`` for no keyframes.
        padding: frames on each side of a keyframe that its features are computed from; 2 for the REDS weights,
            3 for those of Vimeo-90K.
        with_cp: gradient checkpointing: training holds the propagated features only and computes the insides of
            every step twice.
        spynet_pretrained: name, path or address of SPyNet weights that ``init_weights()`` loads.
        edvr_pretrained: the same for the extractor, e.g. ``'edvrm_reds'``.
        init_cfg: ``dict(type='Pretrained', checkpoint='iconvsr_reds4')`` for the weights of the whole network.
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
        >>> net = IconVSRNet(mid_channels=8, num_blocks=1)
        >>> net(torch.rand(1, 2, 3, 16, 24)).shape
        torch.Size([1, 2, 3, 64, 96])
    """

    #: The extractor's pyramid has three levels.
    size_multiple = 4
    published_propagation = Coupled

    def __init__(
        self,
        mid_channels: int = 64,
        num_blocks: int = 30,
        keyframe_stride: int | None = 5,
        padding: int = 2,
        with_cp: bool = False,
        spynet_pretrained: str | None = None,
        edvr_pretrained: str | None = None,
        init_cfg: dict | None = None,
        *,
        propagation: str = "coupled",
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
        self.build_refill(mid_channels, keyframe_stride, padding, edvr_pretrained)
        self.build_branches(num_blocks)
        self.build_upsampling(mid_channels, scale)
