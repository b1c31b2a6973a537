"""Independent branches computed side by side give the frames that they give one after the other."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from branch_steps import replace_steps
from torch import Tensor, nn
from variants import make, sequence

from vsr_plugin.models import IconVSRNet
from vsr_plugin.models.propagation import PROPAGATIONS
from vsr_plugin.ops.sweeps import delayed

NETS = {
    "bidirectional": {},
    "local": dict(propagation="local"),
    "image": dict(alignment="image"),
    "none": dict(alignment="none"),
    "refill": dict(net_class=IconVSRNet),
}


@pytest.fixture(params=NETS)
def net(request: pytest.FixtureRequest, randomise: Callable[..., nn.Module]) -> nn.Module:
    return randomise(make(**NETS[request.param])).eval()


@pytest.mark.parametrize("t", [1, 2, 5])
@torch.no_grad()
def test_the_frames_are_the_same(t: int, net: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    lrs = sequence(t)
    expected = net(lrs)
    monkeypatch.setattr(net, "branches_at_once", lambda lrs: True)
    assert torch.equal(net(lrs), expected)


@pytest.mark.parametrize("t", [1, 2, 5])
@pytest.mark.parametrize("propagation", ["coupled", "unidirectional", "local"])
@torch.no_grad()
def test_frames_reconstructed_beside_later_steps_are_the_same(t, propagation, monkeypatch) -> None:
    net, events = make(propagation=propagation), []
    lrs = sequence(t)
    expected = net(lrs)
    begin = net.begin_reconstruct

    def watched_step(plain, *args):
        events.append("forward_step")
        return plain(*args)

    def watched_begin(*args):
        result = begin(*args)
        events.append("begin")

        def asked():
            events.append("asked")
            return result()

        return asked

    replace_steps(monkeypatch, net, "forward", watched_step)
    monkeypatch.setattr(net, "begin_reconstruct", watched_begin)
    monkeypatch.setattr(net, "lookahead", lambda lrs: 1)
    assert torch.equal(net(lrs), expected)
    if propagation != "local":
        # Each is asked for when the step after its own, and what belongs to that, has been queued.
        step = ["forward_step", "begin"]
        assert events == [*step, *(event for _ in range(t - 1) for event in (*step, "asked")), "asked"]


def test_delayed_items_are_all_there() -> None:
    for delay in range(4):
        assert list(delayed(iter(range(3)), delay)) == [0, 1, 2]
    taken = []
    items = delayed((taken.append(i) or i for i in range(3)), 1)
    assert next(items) == 0
    assert taken == [0, 1]


@torch.no_grad()
def test_steps_come_in_pairs_from_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    net, events = make(), []

    def watched(plain: Callable, *args: Any) -> Tensor:
        events.append(args[0].name if plain == step else "reconstruct")
        return plain(*args)

    step, reconstruct = net.step, net.reconstruct
    monkeypatch.setattr(net, "step", functools.partial(watched, step))
    monkeypatch.setattr(net, "reconstruct", functools.partial(watched, reconstruct))
    monkeypatch.setattr(net, "branches_at_once", lambda lrs: True)
    for i, _ in enumerate(net.restore_iter(sequence(3), on_step=events.append)):
        pairs = [event for k in (2, 1, 0) for event in ("backward", "forward", k)]
        assert events == pairs + [event for k in range(i + 1) for event in ("reconstruct", k)]


@torch.no_grad()
def test_runs_of_local_propagation_are_restored_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    net, events = make(propagation="local"), []
    monkeypatch.setattr(net, "branches_at_once", lambda lrs: True)
    list(net.restore_iter(sequence(5), on_step=events.append))
    assert events == [1, 0, 0, 1, 4, 3, 2, 2, 3, 4]


@pytest.mark.parametrize("with_cp", [False, True])
def test_gradients_are_the_same(with_cp: bool, randomise: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    net, lrs = randomise(make(with_cp=with_cp)), sequence(3)
    net(lrs).square().mean().backward()
    expected = {name: parameter.grad for name, parameter in net.named_parameters()}
    net.zero_grad()
    monkeypatch.setattr(net, "branches_at_once", lambda lrs: True)
    net(lrs).square().mean().backward()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-7)


def test_which_branches_are_independent() -> None:
    independent = {name for name in PROPAGATIONS.names() if make(propagation=name).propagation.independent_branches}
    assert independent == {"bidirectional", "local", "second_order"}


def test_usually_branches_run_in_turn() -> None:
    assert not make().branches_at_once(sequence(2))
