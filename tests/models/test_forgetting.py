"""Forgetting: what still pixels lose, in any network, and that the published networks drift without it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from branch_steps import align
from torch import Tensor, nn

from vsr_plugin.errors import ComponentError
from vsr_plugin.models import BasicVSRNet, IconVSRNet
from vsr_plugin.models.propagation import forget, with_forgetting


def test_still_pixels_lose_their_share_and_moving_ones_nothing() -> None:
    feat = torch.ones(1, 2, 1, 4)
    flow = torch.tensor([[0.0, 0.1, 0.06, 1.0], [0.0, 0.0, 0.08, 0.0]]).reshape(1, 2, 1, 4)
    kept = forget(feat, flow, 0.2)
    expected = torch.tensor([0.8, 1 - 0.2 / math.e, 1 - 0.2 / math.e, 1.0])
    torch.testing.assert_close(kept, expected.expand(1, 2, 1, 4))
    assert torch.equal(forget(feat, flow, 0.0), feat)
    assert forget(feat.bfloat16(), flow, 0.2).dtype == torch.bfloat16


def make_still(net: nn.Module) -> nn.Module:
    """Let the flow network see no motion at all."""
    for level in net.spynet.basic_module:
        nn.init.zeros_(level.basic_module[-1].conv.weight)
        nn.init.zeros_(level.basic_module[-1].conv.bias)
    return net.eval()


def random_frames(t: int, dtype: torch.dtype) -> Tensor:
    return torch.rand(1, t, 3, 12, 16, generator=torch.Generator().manual_seed(t), dtype=dtype)


@torch.no_grad()
def test_it_is_a_recurrence_on_weakened_features(randomise: Callable[..., nn.Module]) -> None:
    net = make_still(randomise(BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4, forgetting=0.25)).double())
    lrs = random_frames(4, torch.float64)
    zeros = lrs.new_zeros(1, 8, 12, 16)
    backward, forward = [zeros], [zeros]
    for i in range(4):
        share = 0.75 if i else 1
        backward.append(net.backward_resblocks(torch.cat((lrs[:, 3 - i], share * backward[-1]), dim=1)))
        forward.append(net.forward_resblocks(torch.cat((lrs[:, i], share * forward[-1]), dim=1)))
    expected = [net.reconstruct(lrs[:, i], backward[4 - i], forward[i + 1]) for i in range(4)]
    torch.testing.assert_close(net(lrs), torch.stack(expected, dim=1), atol=1e-12, rtol=0)


@pytest.mark.parametrize("net_class", [BasicVSRNet, IconVSRNet])
@torch.no_grad()
def test_a_network_with_another_rate_shares_parameters_and_leaves_the_first_as_it_is(
    net_class: type[nn.Module], randomise: Callable[..., nn.Module]
) -> None:
    net = make_still(randomise(net_class(mid_channels=8, num_blocks=1, spynet_width=4)))
    lrs = random_frames(6, torch.float32)
    before = net(lrs)
    other = with_forgetting(net, 0.1)
    assert {id(p) for p in net.parameters()} == {id(p) for p in other.parameters()}
    assert not torch.allclose(other(lrs), before, atol=1e-4)
    assert torch.equal(net(lrs), before)
    assert torch.equal(with_forgetting(other, 0)(lrs), before)
    built = net_class(mid_channels=8, num_blocks=1, spynet_width=4, forgetting=0.1).eval()
    built.load_state_dict(net.state_dict())
    assert torch.equal(built(lrs), other(lrs))


@torch.no_grad()
def test_frames_that_alignment_carries_are_not_forgotten(randomise: Callable[..., nn.Module]) -> None:
    net = make_still(
        randomise(BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4, alignment="image", forgetting=0.5))
    )
    state, flow = torch.ones(1, 11, 12, 16), torch.zeros(1, 2, 12, 16)
    aligned = align(net, state, flow, torch.zeros(1, 3, 12, 16))
    torch.testing.assert_close(aligned[:, :8], torch.full((1, 8, 12, 16), 0.5))
    torch.testing.assert_close(aligned[:, 8:], torch.ones(1, 3, 12, 16))


def test_gradients_pass(randomise: Callable[..., nn.Module]) -> None:
    net = make_still(randomise(BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4, forgetting=0.1))).train()
    lrs = random_frames(3, torch.float32).requires_grad_()
    net(lrs)[:, 0].sum().backward()
    assert all(lrs.grad[:, i].abs().sum() > 0 for i in range(3))
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, math.nan])
def test_a_rate_that_is_no_share_is_refused(rate: float) -> None:
    with pytest.raises(ComponentError, match="is no share of what is propagated"):
        BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4, forgetting=rate)
    with pytest.raises(ComponentError, match="is no share of what is propagated"):
        with_forgetting(BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4), rate)


def test_without_flow_there_is_nothing_to_forget_by() -> None:
    net = BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4, alignment="none")
    assert net.forgetting == 0
    with pytest.raises(ComponentError, match="needs optical flow"):
        with_forgetting(net, 0.1)
