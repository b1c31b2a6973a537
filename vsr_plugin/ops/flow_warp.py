"""Warping with optical flow: W in section 3.1 of the paper."""

import torch
import torch.nn.functional as F
from torch import Tensor


def flow_warp(x: Tensor, flow: Tensor, padding_mode: str = "zeros") -> Tensor:
    """Sample ``x`` bilinearly at ``position + flow``.

    Coordinates and interpolation use at least float32 whatever the dtype of the features and whether or not
    autocast is on: in float16 a coordinate near 1000 is off by up to half a pixel, and in bfloat16 by four.

    Args:
        x: image or features ``(n, c, h, w)``.
        flow: displacement in pixels ``(n, 2, h, w)``, channel 0 horizontal (to the right), channel 1 vertical
            (down).
        padding_mode: what lies outside the image, ``'zeros'`` (features) or ``'border'`` (inside SPyNet).

    Returns:
        ``(n, c, h, w)`` in the dtype of ``x``.

    Raises:
        ValueError: ``x`` and ``flow`` differ in batch or size, or ``flow`` has not two channels.
    """
    n, _, h, w = x.shape
    if flow.shape != (n, 2, h, w):
        raise ValueError(
            f"`flow` must have shape {(n, 2, h, w)} to warp `x` of shape {tuple(x.shape)}, got {tuple(flow.shape)}"
        )
    dtype = torch.promote_types(torch.promote_types(x.dtype, flow.dtype), torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        grid_x = torch.arange(w, device=x.device, dtype=dtype) + flow[:, 0].to(dtype)
        grid_y = torch.arange(h, device=x.device, dtype=dtype)[:, None] + flow[:, 1].to(dtype)
        # Pixel centres at (2 i + 1) / size - 1, that is align_corners=False: the same positions as with True,
        # but without its division by size - 1, which loses the scale of the flow in images one pixel wide.
        grid = torch.stack(((2 * grid_x + 1) / w - 1, (2 * grid_y + 1) / h - 1), dim=-1)
        if padding_mode == "border" and torch.is_grad_enabled():
            # There, PyTorch's backward pass on CPUs takes NaN for an address and crashes. The flow stays NaN.
            grid = grid.nan_to_num(nan=0.0)
        warped = F.grid_sample(x.to(dtype), grid, mode="bilinear", padding_mode=padding_mode, align_corners=False)
    return warped.to(x.dtype)
