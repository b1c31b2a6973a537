"""What each propagation lets a frame learn from."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from branch_steps import forward_step, reconstruct
from variants import frames_that_change, make, sequence

from vsr_plugin.models import BasicVSRNet, IconVSRNet
from vsr_plugin.models.propagation import Local


@pytest.mark.parametrize("alignment", ["none", "image", "feature"])
@torch.no_grad()
def test_unidirectional_does_not_see_the_future(alignment: str, nets: dict) -> None:
    net = nets[BasicVSRNet, "unidirectional", alignment]
    assert frames_that_change(net, range(6)) == [set(range(i, 6)) for i in range(6)]


@pytest.mark.parametrize("propagation", ["bidirectional", "coupled"])
@torch.no_grad()
def test_two_branches_see_all_frames(propagation: str, nets: dict) -> None:
    assert frames_that_change(nets[BasicVSRNet, propagation, "feature"], (0, 3, 5)) == [set(range(6))] * 3


@pytest.mark.parametrize(
    ("net_class", "segments"), [(BasicVSRNet, 1), (BasicVSRNet, 2), (BasicVSRNet, 4), (BasicVSRNet, 9), (IconVSRNet, 2)]
)
@torch.no_grad()
def test_segments_know_nothing_of_each_other(net_class: type, segments: int, randomise: Callable) -> None:
    net = randomise(make(net_class, "local", segments=segments)).eval()
    runs = net.propagation.segments(6)
    assert [i for run in runs for i in run] == list(range(6))
    assert len(runs) == min(segments, 6)
    assert frames_that_change(net, range(6)) == [set(run) for run in runs for _ in run]


@pytest.mark.parametrize("net_class", [BasicVSRNet, IconVSRNet])
@torch.no_grad()
def test_segments_are_restored_as_sequences_of_their_own(net_class: type, nets: dict) -> None:
    local = nets[net_class, "local", "feature"]
    whole = make(net_class, "bidirectional").eval()
    whole.load_state_dict(local.state_dict())
    lrs = sequence(7)
    expected = torch.cat([whole(lrs[:, :3]), whole(lrs[:, 3:])], dim=1)
    torch.testing.assert_close(local(lrs), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_one_segment_is_bidirectional(nets: dict) -> None:
    net = make(propagation="local", segments=1).eval()
    reference = nets[BasicVSRNet, "bidirectional", "feature"]
    net.load_state_dict(reference.state_dict())
    lrs = sequence(5)
    assert torch.equal(net(lrs), reference(lrs))


@pytest.mark.parametrize("t", range(1, 12))
@pytest.mark.parametrize("number", range(1, 8))
def test_segments_are_equally_long(t: int, number: int) -> None:
    runs = Local(number).segments(t)
    lengths = {len(run) for run in runs}
    assert [i for run in runs for i in run] == list(range(t))
    assert min(lengths) >= 1
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("net_class", [BasicVSRNet, IconVSRNet])
@torch.no_grad()
def test_coupled_restores_from_the_forward_branch_which_sees_the_backward_one(net_class: type, nets: dict) -> None:
    net = nets[net_class, "coupled", "feature"]
    lr, state, one, other = torch.rand(1, 3, 8, 8), *torch.randn(3, 1, 8, 8, 8)
    flow = torch.zeros(1, 2, 8, 8)
    assert not torch.equal(forward_step(net, lr, flow, state, one), forward_step(net, lr, flow, state, other))
    assert torch.equal(reconstruct(net, lr, one, state), reconstruct(net, lr, other, state))
    apart = nets[net_class, "bidirectional", "feature"]
    assert torch.equal(forward_step(apart, lr, flow, state, one), forward_step(apart, lr, flow, state, other))
    assert not torch.equal(reconstruct(apart, lr, one, state), reconstruct(apart, lr, other, state))
