"""BasicVSRPlusPlusNet against MMagic's on the same weights and real frames, what it promises, and its components."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from variants import sequence

from vsr_plugin.acceleration import accelerate, generic
from vsr_plugin.acceleration.conversion import mixed
from vsr_plugin.acceleration.cpu import components as cpu
from vsr_plugin.errors import ComponentError
from vsr_plugin.inference.tiling import MIN_TILE, tile_net
from vsr_plugin.models import BasicVSRNet, BasicVSRPlusPlusNet
from vsr_plugin.models.alignment import FlowGuidedDeformConv
from vsr_plugin.models.propagation import with_forgetting

SMALL = dict(mid_channels=8, num_blocks=1)
KINDS = pytest.mark.parametrize("is_low_res_input", [True, False], ids=["x4", "x1"])


def mmagic_net(**arguments) -> nn.Module:
    from mmagic.models.editors.basicvsr_plusplus_net.basicvsr_plusplus_net import BasicVSRPlusPlusNet as MMagicNet

    return MMagicNet(**arguments)


def small(**arguments) -> BasicVSRPlusPlusNet:
    return BasicVSRPlusPlusNet(**{**SMALL, **arguments}, spynet_width=4)


@pytest.fixture(scope="module")
def pairs(randomise: Callable, real_spynet: Callable) -> dict[bool, tuple[nn.Module, nn.Module]]:
    """Our networks and MMagic's with the same weights, none of them idle, by ``is_low_res_input``."""
    pairs = {}
    for low in (True, False):
        ours = real_spynet(randomise(BasicVSRPlusPlusNet(**SMALL, is_low_res_input=low)))
        theirs = mmagic_net(**SMALL, is_low_res_input=low)
        theirs.load_state_dict(ours.state_dict(), strict=True)
        pairs[low] = ours.eval(), theirs.eval()
    return pairs


@KINDS
@pytest.mark.parametrize(
    ("t", "mirrored", "dtype", "tolerance"),
    [
        (5, False, torch.float32, 2e-5),
        (6, True, torch.float32, 2e-5),
        (3, False, torch.float64, 1e-10),
        pytest.param(12, False, torch.float32, 2e-5, marks=pytest.mark.slow),
        pytest.param(12, True, torch.float64, 1e-10, marks=pytest.mark.slow),
    ],
)
@torch.no_grad()
def test_random_weights_equal_mmagic(
    t: int, mirrored: bool, dtype, tolerance: float, is_low_res_input: bool, pairs: dict, lr_frames: Callable
) -> None:
    ours, theirs = (copy.deepcopy(net).to(dtype) for net in pairs[is_low_res_input])
    lrs = lr_frames(t // 2 if mirrored else t, 64, 66, mirrored=mirrored)
    if not is_low_res_input:
        # Frames as large as x1 is for, of the same clip: sides are four times those that MMagic's asks for.
        lrs = torch.nn.functional.interpolate(lrs[0], scale_factor=4, mode="bicubic")[None].clamp(0, 1)
    lrs = lrs.to(dtype)
    found, expected = ours(lrs), theirs(lrs.clone())
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def test_the_published_size() -> None:
    net = BasicVSRPlusPlusNet()
    assert sum(parameter.numel() for parameter in net.parameters()) == 7_322_927
    assert net.is_published
    assert net.components == "propagation: second-order grid, alignment: DeformableAlignment()"
    assert BasicVSRPlusPlusNet(is_low_res_input=False).is_published


@KINDS
@torch.no_grad()
def test_any_length_and_size(is_low_res_input: bool, randomise: Callable) -> None:
    net = randomise(small(is_low_res_input=is_low_res_input)).eval()
    for t, h, w in ((1, 1, 1), (2, 7, 5), (3, 9, 14), (5, 12, 16)):
        hr = net(sequence(t, h, w))
        assert hr.shape == (1, t, 3, net.scale * h, net.scale * w)
        assert hr.isfinite().all()
        # What is outside is not seen: a frame in a batch is restored as by itself.
        both = net(torch.cat((sequence(t, h, w), torch.zeros(1, t, 3, h, w))))
        torch.testing.assert_close(both[:1], hr, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [2, 3, 8])
def test_other_scales(scale: int) -> None:
    hr = small(scale=scale)(sequence(2, 6, 8))
    assert hr.shape == (1, 2, 3, 6 * scale, 8 * scale)


@KINDS
@torch.no_grad()
def test_accelerated_and_in_tiles(is_low_res_input: bool, randomise: Callable) -> None:
    net = randomise(small(is_low_res_input=is_low_res_input)).eval()
    side = 1 if is_low_res_input else 4
    lrs = sequence(4, 30 * side, 31 * side)
    before, expected = lrs.clone(), net(lrs)
    torch.testing.assert_close(accelerate(net)(lrs), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(tile_net(net, MIN_TILE)(lrs), expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(tile_net(accelerate(net), MIN_TILE)(lrs), expected, rtol=0, atol=1e-4)
    assert torch.equal(lrs, before)


@KINDS
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.03)])
@torch.no_grad()
def test_without_kernels_and_in_reduced_precision(
    is_low_res_input: bool, dtype: torch.dtype, tolerance: float, randomise: Callable
) -> None:
    net = randomise(small(is_low_res_input=is_low_res_input)).eval()
    side = 1 if is_low_res_input else 4
    lrs = sequence(4, 12 * side, 14 * side)
    fast = generic.convert(copy.deepcopy(net).requires_grad_(False), dtype)
    assert fast.deform_align.backward_1.conv_offset[6].weight.dtype == torch.float32
    found = fast(lrs)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, net(lrs), rtol=0, atol=tolerance)


@KINDS
@pytest.mark.parametrize("convert", [generic.convert, cpu.convert], ids=["generic", "cpu"])
@torch.no_grad()
def test_positions_are_float32_in_reduced_precision(is_low_res_input: bool, convert, randomise: Callable) -> None:
    if convert is cpu.convert and not cpu.worthwhile(torch.bfloat16):
        pytest.skip("this build of PyTorch has no fused operators")
    net = randomise(small(is_low_res_input=is_low_res_input)).eval().requires_grad_(False)
    fast, positions = convert(net, torch.bfloat16), []

    class Seeing:
        def warp(self, x: Tensor, flow: Tensor) -> Tensor:
            positions.append(flow)
            return super().warp(x, flow)

    class SeeingLayers:
        def deform(self, x: Tensor, displacements: Tensor, factors: Tensor) -> Tensor:
            positions.append(displacements)
            return super().deform(x, displacements, factors)

    alignment = mixed(fast.deform_align, Seeing)
    for name, layers in list(alignment.named_children()):
        if convert is generic.convert:
            setattr(alignment, name, mixed(layers, SeeingLayers))
        else:
            layers.deform_conv.register_forward_pre_hook(lambda _, given: positions.append(given[1]))
    fast.deform_align = alignment
    side = 1 if is_low_res_input else 4
    fast(sequence(4, 12 * side, 14 * side))
    # Of each sweep three steps, of which two warp a second state and the flow to it.
    assert len(positions) == 4 * (3 + 3 + 2 * 2)
    for position in positions:
        assert position.dtype == torch.float32
        assert not torch.equal(position, position.bfloat16().float()), "rounded before"


@KINDS
def test_gradients_reach_every_parameter_and_checkpointing_keeps_them(
    is_low_res_input: bool, randomise: Callable
) -> None:
    net = randomise(small(is_low_res_input=is_low_res_input))
    side = 1 if is_low_res_input else 4
    gradients = []
    for net.with_cp in (False, True):
        net.zero_grad()
        net(sequence(4, 36 * side, 40 * side)).square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in net.named_parameters()})
    plain, checkpointed = gradients
    for name, gradient in plain.items():
        assert gradient is not None, name
        assert gradient.abs().sum() > 0, name
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max()))


@KINDS
@torch.no_grad()
def test_every_frame_learns_from_all_others(is_low_res_input: bool, randomise: Callable) -> None:
    net = randomise(small(is_low_res_input=is_low_res_input)).eval()
    lrs = sequence(6, 12, 16)
    for changed in (0, 3, 5):
        other = lrs.clone()
        other[:, changed] = 1 - other[:, changed]
        assert (net(lrs) - net(other)).abs().amax(dim=(0, 2, 3, 4)).gt(0).all()


@torch.no_grad()
def test_autocast_stays_close(randomise: Callable) -> None:
    net, lrs = randomise(small()).eval(), sequence(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net(lrs).float()
    expected = net(lrs)
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


@torch.no_grad()
def test_forgetting_reaches_the_aligned_features(randomise: Callable) -> None:
    net, lrs = randomise(small()).eval(), sequence(4)
    for level in net.spynet.basic_module:  # nothing moves
        nn.init.zeros_(level.basic_module[-1].conv.weight)
        nn.init.zeros_(level.basic_module[-1].conv.bias)
    assert (with_forgetting(net, 0.5)(lrs) - net(lrs)).abs().max() > 1e-4
    assert torch.equal(with_forgetting(net, 0.0)(lrs), net(lrs))


def test_arguments_that_make_no_sense() -> None:
    with pytest.raises(ComponentError, match="`scale` 4 does not go with is_low_res_input=False, which restores"):
        small(is_low_res_input=False, scale=4)
    with pytest.raises(ComponentError, match="`scale` must be one of 2, 3, 4, 8, got 1"):
        small(scale=1)
    with pytest.raises(ValueError, match="add a batch axis"):
        small()(torch.rand(2, 3, 8, 8))


@pytest.mark.parametrize("order", [1, 2])
@torch.no_grad()
def test_without_residue_states_are_sampled_where_the_flow_points(order: int) -> None:
    align = FlowGuidedDeformConv(8, order, 3, 10)
    align.weight.zero_()
    for k in range(8):
        for neighbour in range(order):
            align.weight[k, 8 * neighbour + k, 1, 1] = 2.0 if neighbour == 0 else 0.2
    states = torch.rand(1, order * 8, 9, 12)
    flows = [torch.zeros(1, 2, 9, 12) for _ in range(order)]
    for neighbour, flow in enumerate(flows):
        flow[:, 0], flow[:, 1] = 2 - neighbour, 1
    found = align(states, torch.rand(1, order * 10 + 3, 9, 12), flows)
    # Factors begin at 1/2, and the centre of the kernel is where the flow points: right by 2 (1), down by 1.
    expected = states[:, :8, 1:, 2:11][..., :9]
    expected = expected + (0.1 * states[:, 8:, 1:, 1:10] if order == 2 else 0)
    torch.testing.assert_close(found[..., :8, :9], expected, rtol=0, atol=1e-6)


def test_residues_are_bounded() -> None:
    align = FlowGuidedDeformConv(8, 2, 8, 3)
    nn.init.constant_(align.conv_offset[-1].bias, 1e3)
    seen = []
    align.displaced = lambda residues, flows: (
        seen.append(residues) or FlowGuidedDeformConv.displaced(align, residues, flows)
    )
    align(torch.rand(1, 16, 6, 6), torch.rand(1, 28, 6, 6), [torch.zeros(1, 2, 6, 6)] * 2)
    assert seen[0].abs().max() == 3


@torch.no_grad()
def test_flow_to_the_second_neighbour_is_composed() -> None:
    net = BasicVSRNet(**SMALL, propagation="second_order", spynet_width=4)
    near = torch.zeros(1, 2, 6, 8)
    near[:, 0] = 2
    far = torch.rand(1, 2, 6, 8)
    first, second = net.flows_across((near, far))
    assert torch.equal(first, near)
    torch.testing.assert_close(second[..., :6], near[..., :6] + far[..., 2:], rtol=0, atol=1e-6)
    assert net.flows_across((near, None)) == [near, None]
