"""SPyNet: optical flow from a spatial pyramid (Ranjan and Black, CVPR 2017), S in section 3.1 of the paper."""

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.models.component import VSRModule
from vsr_plugin.models.layers import ConvModule
from vsr_plugin.ops.device import batch_pixels
from vsr_plugin.ops.flow_warp import flow_warp
from vsr_plugin.registry import MODELS

NUM_LEVELS = 6
#: Channels behind the first convolution of a level, by which the others go, in the published network.
PUBLISHED_WIDTH = 32


class SPyNetBasicModule(nn.Module):
    """Five 7x7 convolutions that refine the flow of one pyramid level."""

    def __init__(self, width: int = PUBLISHED_WIDTH):
        super().__init__()
        widths = (8, width, 2 * width, width, width // 2)
        self.basic_module = nn.Sequential(
            *(ConvModule(c_in, c_out, 7, slope=0) for c_in, c_out in pairwise(widths)),
            ConvModule(widths[-1], 2, 7),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map reference, warped neighbour and flow ``(n, 3 + 3 + 2, h, w)`` to a flow residue ``(n, 2, h, w)``."""
        return self.basic_module(x)


@MODELS.register_module()
class SPyNet(VSRModule):
    """Optical flow network with six pyramid levels and no normalisation layers.

    It always computes in at least float32: autocast is switched off inside, and ``.half()`` or
    ``.to(torch.bfloat16)`` on a network that contains it leave its weights as they are, because flow errors of
    a fraction of a pixel cost the features that are warped with it tens of dB.

    Args:
        init_cfg: ``dict(type='Pretrained', checkpoint='spynet')`` for the published weights.
        width: channels behind the first convolution of each level, at least 2; the others are twice, once and half as
            wide.
    """

    def __init__(self, init_cfg: dict | None = None, *, width: int = PUBLISHED_WIDTH):
        super().__init__(init_cfg)
        self.width = width
        self.basic_module = nn.ModuleList(SPyNetBasicModule(width) for _ in range(NUM_LEVELS))
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True):
        def keep_full_precision(tensor: Tensor) -> Tensor:
            changed = fn(tensor)
            if changed.dtype in (torch.float16, torch.bfloat16):
                return tensor.to(changed.device)
            return changed

        return super()._apply(keep_full_precision, recurse)

    def build_pyramid(self, images: Tensor) -> list[Tensor]:
        """Normalise images and halve them five times.

        Args:
            images: RGB in [0, 1], ``(n, 3, h, w)``; any size, enlarged here to multiples of 32.

        Returns:
            Six tensors ``(n, 3, H / 2**k, W / 2**k)``, smallest first.
        """
        h, w = images.shape[-2:]
        size = (h + -h % 32, w + -w % 32)
        if size != (h, w):
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        pyramid = [(images - self.mean) / self.std]
        for _ in range(NUM_LEVELS - 1):
            pyramid.append(F.avg_pool2d(pyramid[-1], kernel_size=2))
        return pyramid[::-1]

    def compute_flow(self, ref_pyramid: list[Tensor], supp_pyramid: list[Tensor]) -> Tensor:
        """Coarse-to-fine flow between two pyramids of :meth:`build_pyramid`; ``(n, 2, H, W)`` in their pixels."""
        flow = ref_pyramid[0].new_zeros(ref_pyramid[0].size(0), 2, *ref_pyramid[0].shape[-2:])
        for level, (ref, supp) in enumerate(zip(ref_pyramid, supp_pyramid, strict=True)):
            if level > 0:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            warped = flow_warp(supp, flow, padding_mode="border")
            flow = flow + self.residue(level, torch.cat((ref, warped, flow), dim=1))
        return flow

    def residue(self, level: int, x: Tensor) -> Tensor:
        """See :meth:`SPyNetBasicModule.forward`; apart, so that accelerated networks can put their own in its place."""
        return self.basic_module[level](x)

    def resize_flow(self, flow: Tensor, h: int, w: int) -> Tensor:
        """Bring a flow from the pyramid's size back to ``h`` x ``w`` and its values to those pixels."""
        flow_h, flow_w = flow.shape[-2:]
        if (flow_h, flow_w) == (h, w):
            return flow
        flow = F.interpolate(flow, size=(h, w), mode="bilinear", align_corners=False)
        # Each channel by a number, not both by a tensor of two: sizes stay sizes when the network is exported.
        return torch.cat((flow[:, :1] * (w / flow_w), flow[:, 1:] * (h / flow_h)), dim=1)

    def forward(self, ref: Tensor, supp: Tensor) -> Tensor:
        """Flow from ``ref`` to ``supp``: ``supp`` sampled at ``position + flow`` resembles ``ref``.

        Args:
            ref: RGB in [0, 1], ``(n, 3, h, w)``.
            supp: as ``ref``.

        Returns:
            ``(n, 2, h, w)`` in pixels, channel 0 horizontal; float32, or float64 for float64 weights.
        """
        dtype = self.mean.dtype
        with torch.autocast(ref.device.type, enabled=False):
            flow = self.compute_flow(self.build_pyramid(ref.to(dtype)), self.build_pyramid(supp.to(dtype)))
            return self.resize_flow(flow, *ref.shape[-2:])

    def neighbour_flows(self, frames: Tensor, max_pixels: int | None = None) -> tuple[Tensor, Tensor]:
        """Flows between successive frames in both directions, each frame's pyramid built once.

        Args:
            frames: RGB in [0, 1], ``(n, t, 3, h, w)``.
            max_pixels: without gradients, pairs are taken in batches of at most this many pixels (at least one
                pair), which bounds the memory; the result does not depend on it. See :func:`batch_pixels`.

        Returns:
            ``(flows_forward, flows_backward)``, each ``(n, t - 1, 2, h, w)``: entry ``i`` of the first is the
            flow from frame ``i + 1`` to frame ``i`` (used in forward propagation), entry ``i`` of the second
            from frame ``i`` to ``i + 1``.
        """
        n, t, _, h, w = frames.shape
        dtype = self.mean.dtype
        if t == 1:
            none = frames.new_zeros(n, 0, 2, h, w, dtype=dtype)
            return none, none
        with torch.autocast(frames.device.type, enabled=False):
            # (t, n) order, so that neighbours in time are contiguous slices of the batch.
            pyramid = self.build_pyramid(frames.to(dtype).transpose(0, 1).reshape(t * n, 3, h, w))
            earlier = [level[:-n] for level in pyramid]
            later = [level[n:] for level in pyramid]
            refs = [torch.cat(pair) for pair in zip(later, earlier, strict=True)]
            supps = [torch.cat(pair) for pair in zip(earlier, later, strict=True)]
            pairs = 2 * (t - 1) * n
            batch = (
                pairs
                if torch.is_grad_enabled()
                else max(1, (batch_pixels(frames) if max_pixels is None else max_pixels) // (h * w))
            )
            flows = torch.cat(
                [
                    self.resize_flow(
                        self.compute_flow([r[k : k + batch] for r in refs], [s[k : k + batch] for s in supps]),
                        h,
                        w,
                    )
                    for k in range(0, pairs, batch)
                ]
            )
        flows = flows.view(2, t - 1, n, 2, h, w).transpose(1, 2)
        return flows[0], flows[1]
