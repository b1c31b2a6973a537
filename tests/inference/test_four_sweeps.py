"""A network of four sweeps of second order, as BasicVSR++ has, by the same driver, streaming and restart."""

import itertools
from contextlib import closing
from types import SimpleNamespace

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from vsr_plugin.inference.engine import restore_piece
from vsr_plugin.inference.planning import Plan
from vsr_plugin.inference.sequence import restore_sequence
from vsr_plugin.inference.storage import DiskCache, MemoryCache, needed_bytes
from vsr_plugin.models.driver import SequenceNet
from vsr_plugin.models.propagation import Propagation, Sweep
from vsr_plugin.ops.flow_warp import flow_warp

C = 4


class FourSweeps(Propagation):
    """Backward and forward twice; each sweep sees all before it, each step the states of two neighbours."""

    sweeps: tuple[Sweep, ...] = ()
    for _name in ("backward_1", "forward_1", "backward_2", "forward_2"):
        sweeps = (*sweeps, Sweep(_name, reverse=_name.startswith("backward"), order=2, sees=sweeps))
    restored_from = sweeps


class SmallNet(SequenceNet, nn.Module):
    """Features of every frame, flow of one convolution, states that are warped over one and two frames."""

    scale, size_multiple = 2, 2
    mid_channels = state_channels = C
    alignment = SimpleNamespace(needs_flow=True)

    def __init__(self):
        super().__init__()
        self.propagation, self.cleaning = FourSweeps(), None
        self.spynet = nn.Conv2d(6, 2, 3, padding=1)
        self.feat_extract = nn.Conv2d(3, C, 3, padding=1)
        self.backbone = nn.ModuleDict(
            {s.name: nn.Conv2d(3 + C * (3 + len(s.sees)), C, 3, padding=1) for s in self.propagation.sweeps}
        )
        self.reconstruction = nn.Conv2d(5 * C, 12, 3, padding=1)

    def estimate_flows(self, lrs):
        def flows(a, b):
            return 2 * torch.tanh(self.spynet(torch.cat((a, b), dim=2).flatten(0, 1))).unflatten(0, a.shape[:2])

        if lrs.size(1) == 1:
            none = lrs.new_zeros(lrs.size(0), 0, 2, *lrs.shape[-2:])
            return none, none
        return flows(lrs[:, 1:], lrs[:, :-1]), flows(lrs[:, :-1], lrs[:, 1:])

    def feature_windows(self, t):
        return {i: [i] for i in range(t)}

    def frame_feature(self, window):
        return self.feat_extract(window[:, 0])

    def steps(self, group, inputs):
        (sweep,), ((lr, (flow, flow_before), (near, far), seen, feature),) = group, inputs
        none = torch.zeros_like(feature)
        aligned = [none if near is None else flow_warp(near, flow), none]
        if far is not None:
            aligned[1] = flow_warp(far, flow + flow_warp(flow_before, flow))
        return (torch.tanh(self.backbone[sweep.name](torch.cat((lr, feature, *aligned, *seen), dim=1))),)

    def begin_frame(self, store, i, states):
        hr = F.pixel_shuffle(self.reconstruction(torch.cat((store.feature(i), *states.values()), dim=1)), 2)
        return lambda: hr


class Killed(BaseException):
    """What stops a run at any place."""


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(3)
    return SmallNet().eval()


def clip_of(t):
    return list(torch.rand(t, 3, 5, 7, generator=torch.Generator().manual_seed(t)))


def whole(net, clip):
    with torch.no_grad():
        return net(torch.stack(clip)[None])[0]


def collect(restored):
    return torch.stack([hr for _, hr in restored])


@pytest.mark.parametrize("keep_states", [True, False])
@pytest.mark.parametrize(("t", "block"), [(1, 1), (2, 1), (2, 2), (7, 3), (7, 7), (50, 8), (50, 25)])
def test_streamed_equals_whole(net, tmp_path, t, block, keep_states):
    clip = clip_of(t)
    with closing(DiskCache(tmp_path)) as cache:
        streamed = collect(restore_piece(net, clip, block=block, cache=cache, keep_states=keep_states))
    torch.testing.assert_close(streamed, whole(net, clip), rtol=0, atol=1e-6)
    in_memory = collect(restore_piece(net, clip, block=block, cache=MemoryCache(), keep_states=keep_states))
    assert torch.equal(in_memory, streamed)


def test_every_frame_depends_on_every_other(net):
    lrs = torch.stack(clip_of(5))[None].requires_grad_()
    for i, hr in enumerate(net.restore_iter(lrs)):
        (gradient,) = torch.autograd.grad(hr.sum(), lrs, retain_graph=True)
        assert gradient.abs().amax(dim=(0, 2, 3, 4)).gt(0).all(), f"frame {i}"


@pytest.mark.parametrize("keep_states", [True, False])
def test_killed_in_each_sweep_and_resumed(net, tmp_path, monkeypatch, keep_states):
    clip, steps = clip_of(11), SmallNet.steps
    expected = collect(restore_piece(net, clip, block=4, cache=MemoryCache(), keep_states=keep_states))
    calls = itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr(SmallNet, "steps", lambda *args: (next(calls), steps(*args))[1])
        collect(restore_piece(net, clip, block=4, cache=MemoryCache(), keep_states=keep_states))
    total = next(calls)
    for kill_at in range(2, total, 5):
        folder = tmp_path / str(kill_at)
        folder.mkdir()
        left, got = iter(range(kill_at)), {}

        def step_or_die(*args, left=left):
            if next(left, None) is None:
                raise Killed
            return steps(*args)

        with monkeypatch.context() as patch, closing(DiskCache(folder)) as cache:
            patch.setattr(SmallNet, "steps", step_or_die)
            with pytest.raises(Killed):
                got.update(restore_piece(net, clip, block=4, cache=cache, keep_states=keep_states))
        first_block = max(got) // 4 if got else 0
        with closing(DiskCache(folder)) as cache:
            resumed = restore_piece(net, clip, block=4, cache=cache, keep_states=keep_states, first_block=first_block)
            got |= dict(resumed)
        assert torch.equal(torch.stack([got[i] for i in range(11)]), expected), kill_at


def test_what_it_takes_on_disk_is_counted(net, tmp_path):
    clip = clip_of(12)
    collect(restore_sequence(net, clip, Plan("exact", 4), folder=tmp_path, persistent=True))
    written = sum(path.stat().st_size for path in tmp_path.rglob("*.bin"))
    needed = needed_bytes(net, 12, 6 * 8, 4, states=True)
    assert written <= needed <= 1.15 * written
