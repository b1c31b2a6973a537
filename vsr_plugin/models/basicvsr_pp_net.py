"""BasicVSR++ (Chan et al., CVPR 2022, arXiv 2104.13371): second-order grid propagation, deformable alignment."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.errors import ComponentError
from vsr_plugin.models.alignment import Alignment, DeformableAlignment
from vsr_plugin.models.driver import StepInputs, Store, Sweep
from vsr_plugin.models.layers import ResidualBlocksWithInputConv
from vsr_plugin.models.propagation import SecondOrderGrid
from vsr_plugin.models.spynet import PUBLISHED_WIDTH
from vsr_plugin.models.vsr_net import VSRNet
from vsr_plugin.registry import MODELS

#: Residual blocks before the propagation and after it.
_EXTRACTION_BLOCKS = _RECONSTRUCTION_BLOCKS = 5
#: Input pixels per feature pixel and side where the input is not of low resolution.
_STRIDE = 4


@MODELS.register_module()
class BasicVSRPlusPlusNet(VSRNet):
    """BasicVSR++: features of every frame, four sweeps of second order, deformable alignment guided by flow.

    ``forward`` maps RGB sequences in [0, 1] ``(n, t, 3, h, w)`` to ``(n, t, 3, scale * h, scale * w)``, for any ``t``,
    ``h`` and ``w`` of at least 1.

    Args:
        mid_channels: channels of the propagated features.
        num_blocks: residual blocks in each of the four branches.
        max_residue_magnitude: bound of what the alignment adds to the flow, in pixels (equation 6).
        is_low_res_input: enlarge; ``False`` restores frames at their size: decompression, deblurring, denoising.
            Features and flow then have a quarter of their sides.
        spynet_pretrained: name, path or address of SPyNet weights that ``init_weights()`` loads.
        cpu_cache_length: taken for MMagic's configs, and without effect: ``restore_frames`` restores sequences of any
            length in bounded memory.
        with_cp: gradient checkpointing: training holds the propagated features only and computes the insides of
            every step twice.
        init_cfg: ``dict(type='Pretrained', checkpoint='basicvsr_pp_reds4')`` for the weights of the whole network.
        forgetting: share of its propagated features that a still pixel loses per frame, against drift in long shots.
        cleaning: ``'footage'`` or ``'image'`` to clean frames before they are propagated, or one of your own.
        scale: output pixels per input pixel and side: 2, 3, 4 or 8, and 1 without ``is_low_res_input``. ``None`` for
            what weights are published for, 4 and 1.
        spynet_width: see :class:`~vsr_plugin.models.spynet.SPyNet`; for experiments that are to be quick.

    Raises:
        ComponentError: ``forgetting`` is not in [0, 1), there is no such cleaning, or no such scale.

    Example:
        >>> net = BasicVSRPlusPlusNet(mid_channels=8, num_blocks=1)
        >>> net(torch.rand(1, 2, 3, 16, 24)).shape
        torch.Size([1, 2, 3, 64, 96])
        >>> net = BasicVSRPlusPlusNet(mid_channels=8, num_blocks=1, is_low_res_input=False)
        >>> net(torch.rand(1, 2, 3, 16, 24)).shape
        torch.Size([1, 2, 3, 16, 24])
    """

    published_propagation = SecondOrderGrid
    published_alignment = DeformableAlignment
    alignment_name = "deform_align"

    def __init__(
        self,
        mid_channels: int = 64,
        num_blocks: int = 7,
        max_residue_magnitude: float = 10,
        is_low_res_input: bool = True,
        spynet_pretrained: str | None = None,
        cpu_cache_length: int = 100,
        *,
        with_cp: bool = False,
        init_cfg: dict | None = None,
        forgetting: float = 0.0,
        cleaning: str | Mapping[str, Any] | None = None,
        scale: int | None = None,
        spynet_width: int = PUBLISHED_WIDTH,
    ):
        self.frame_channels = mid_channels
        if not is_low_res_input:
            if scale not in (None, 1):
                raise ComponentError(
                    f"`scale` {scale!r} does not go with is_low_res_input=False, which restores frames at their size; "
                    "leave `scale` out"
                )
            self.published_scale, self.feature_stride, self.size_multiple = 1, _STRIDE, _STRIDE
        super().__init__(
            mid_channels,
            propagation="second_order_grid",
            segments=None,
            alignment=dict(type="deformable", max_residue_magnitude=max_residue_magnitude),
            forgetting=forgetting,
            cleaning=cleaning,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
        c = mid_channels
        self.is_low_res_input = is_low_res_input
        self.build_flow(spynet_pretrained, spynet_width)
        if is_low_res_input:
            self.feat_extract = ResidualBlocksWithInputConv(3, c, _EXTRACTION_BLOCKS)
        else:
            self.feat_extract = nn.Sequential(
                nn.Conv2d(3, c, 3, stride=2, padding=1),
                nn.LeakyReLU(0.1, inplace=True),
                nn.Conv2d(c, c, 3, stride=2, padding=1),
                nn.LeakyReLU(0.1, inplace=True),
                ResidualBlocksWithInputConv(c, c, _EXTRACTION_BLOCKS),
            )
        sweeps = self.propagation.sweeps
        self.backbone = nn.ModuleDict(
            {s.name: ResidualBlocksWithInputConv((2 + len(s.sees)) * c, c, num_blocks) for s in sweeps}
        )
        self.reconstruction = ResidualBlocksWithInputConv((1 + len(sweeps)) * c, c, _RECONSTRUCTION_BLOCKS)
        self.build_upsampling(c, self.published_scale if scale is None else scale)

    @property
    def alignment(self) -> Alignment:
        """The alignment, whose layers are under MMagic's name."""
        return self.deform_align

    def branches(self) -> dict[str, nn.Module]:
        """See :meth:`VSRNet.branches`."""
        return dict(self.backbone.items())

    def flow_frames(self, lrs: Tensor) -> Tensor:
        """See :meth:`VSRNet.flow_frames`."""
        if self.is_low_res_input:
            return lrs
        flat = lrs.flatten(0, 1).to(torch.promote_types(lrs.dtype, torch.float32))
        reduced = F.interpolate(flat, scale_factor=1 / _STRIDE, mode="bicubic", align_corners=False)
        # Not `unflatten`, which freezes the sizes when the network is exported.
        return reduced.view(*lrs.shape[:2], *reduced.shape[1:])

    def feature_windows(self, t: int) -> dict[int, list[int]]:
        """See :meth:`SequenceNet.feature_windows`; all frames have features, of themselves."""
        return {i: [i] for i in range(t)}

    def frame_feature(self, window: Tensor) -> Tensor:
        """Features ``g_i`` of a frame ``(n, 1, 3, h, w)``: ``(n, mid_channels, h, w)``, smaller by the stride."""
        return self.feat_extract(window[:, 0])

    def step(self, sweep: Sweep, inputs: StepInputs) -> Tensor:
        """State of one branch at one frame: ``f̄ + R(g_i, f_i of the branches before, f̄)``; equations 1 and 2.

        Args:
            sweep: the branch.
            inputs: what it takes.

        Returns:
            ``(n, mid_channels, h, w)``, smaller than the frame by the stride.
        """
        (aligned,) = self.align(sweep, inputs.feature, inputs.flows, inputs.states)
        return aligned + self.run_branch(self.backbone[sweep.name], inputs.feature, *inputs.seen, aligned)

    def begin_frame(self, store: Store, i: int, states: Mapping[Sweep, Tensor]) -> Callable[[], Tensor]:
        """See :meth:`SequenceNet.begin_frame`."""
        return self.begin_reconstruct(store.lr(i), store.feature(i), *states.values())

    def fuse_branches(self, *feats: Tensor) -> Tensor:
        """See :meth:`VSRNet.fuse_branches`; of all branches and the features of the frame."""
        return self.reconstruction(torch.cat(feats, dim=1))
