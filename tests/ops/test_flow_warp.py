"""Warping: analytic cases, where rounding would show."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vsr_plugin.models.alignment import flow_warp

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
#: In half precision, one rounding of the result.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-12, torch.bfloat16: 2**-8, torch.float16: 2**-11}


def constant_flow(x: torch.Tensor, dx: float, dy: float) -> torch.Tensor:
    n, _, h, w = x.shape
    return x.new_tensor([dx, dy], dtype=torch.float32).view(1, 2, 1, 1).expand(n, 2, h, w)


@pytest.mark.parametrize("padding_mode", ["zeros", "border"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("h", "w"), [(1, 1), (1, 9), (9, 1), (7, 5), (13, 300)])
def test_zero_flow_is_identity(h: int, w: int, dtype: torch.dtype, padding_mode: str) -> None:
    x = torch.rand(2, 4, h, w).to(dtype)
    warped = flow_warp(x, constant_flow(x, 0, 0), padding_mode)
    assert warped.dtype == dtype
    torch.testing.assert_close(warped, x, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("h", "w"), [(6, 9), (1, 9), (6, 1), (33, 65)])
@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (0, 1), (-2, 3), (3, -1)])
def test_integer_shift(dx: int, dy: int, h: int, w: int, dtype: torch.dtype) -> None:
    x = torch.rand(1, 2, h, w, dtype=dtype)
    flow = constant_flow(x, dx, dy)
    y, x_pos = torch.arange(h) + dy, torch.arange(w) + dx
    border = x[..., y.clamp(0, h - 1), :][..., x_pos.clamp(0, w - 1)]
    inside = ((y >= 0) & (y < h))[:, None] & ((x_pos >= 0) & (x_pos < w))
    for mode, expected in (("border", border), ("zeros", border * inside)):
        torch.testing.assert_close(flow_warp(x, flow, mode), expected, rtol=0, atol=TOLERANCE[dtype])


def test_half_a_pixel_is_the_mean_of_neighbours() -> None:
    x = torch.rand(1, 3, 8, 10, dtype=torch.float64)
    across = flow_warp(x, constant_flow(x, 0.5, 0))
    torch.testing.assert_close(across[..., :-1], (x[..., :-1] + x[..., 1:]) / 2)
    # Beyond the last pixel lies zero.
    torch.testing.assert_close(across[..., -1], x[..., -1] / 2)


def test_channel_0_is_horizontal_and_points_at_the_source() -> None:
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 3] = 1
    warped = flow_warp(x, constant_flow(x, 2, 0))
    assert warped[0, 0].argmax() == 2 * 5 + 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_coordinates_are_exact_in_half_precision(dtype: torch.dtype, autocast: bool) -> None:
    w = 1280
    generator = torch.Generator().manual_seed(0)
    # Neighbouring pixels differ, so that an error of position is an error of value.
    x = torch.rand(1, 2, 4, w, generator=generator).to(dtype)
    flow = 3 * torch.randn(1, 2, 4, w, generator=generator)
    expected = flow_warp(x.float(), flow).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        assert torch.equal(flow_warp(x, flow), expected)

    # The same with coordinates in the dtype of the features fails, or this test would show nothing.
    position = torch.arange(w, dtype=dtype) + flow[:, 0].to(dtype)
    vertical = torch.arange(4, dtype=dtype)[:, None] + flow[:, 1].to(dtype)
    grid = torch.stack(((2 * position + 1) / w - 1, (2 * vertical + 1) / 4 - 1), dim=-1).float()
    rough = F.grid_sample(x.float(), grid, align_corners=False)
    assert (rough - expected.float()).abs().max() > 0.2


def test_half_precision_flow_is_used_as_it_is() -> None:
    x = torch.rand(1, 3, 6, 40)
    flow = torch.randn(1, 2, 6, 40).to(torch.float16)
    assert torch.equal(flow_warp(x, flow), flow_warp(x, flow.float()))


def test_equals_mmagic() -> None:
    from mmagic.models.utils import flow_warp as theirs

    x = torch.rand(2, 3, 11, 17, dtype=torch.float64)
    flow = 4 * torch.randn(2, 2, 11, 17, dtype=torch.float64)
    for mode in ("zeros", "border"):
        expected = theirs(x, flow.permute(0, 2, 3, 1), padding_mode=mode)
        torch.testing.assert_close(flow_warp(x, flow, mode), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "shape", [(1, 2, 8, 9), (1, 3, 8, 8), (2, 2, 8, 8), (1, 8, 8, 2)], ids=["size", "channels", "batch", "last"]
)
def test_error_says_which_flow_fits(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"`flow` must have shape \(1, 2, 8, 8\) to warp `x` of shape \(1, 4, 8, 8\), got"
    ):
        flow_warp(torch.rand(1, 4, 8, 8), torch.zeros(shape))


def test_gradcheck() -> None:
    x = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    flow = torch.randn(1, 2, 4, 5, dtype=torch.float64)
    # Away from whole pixels, where bilinear interpolation has no derivative.
    flow = (flow.floor() + 0.1 + 0.8 * torch.rand_like(flow)).requires_grad_()
    assert torch.autograd.gradcheck(flow_warp, (x, flow))
