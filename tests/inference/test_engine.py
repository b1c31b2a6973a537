import contextlib
from contextlib import closing

import pytest
import torch

from vsr_plugin.acceleration.guard import FiniteGuard
from vsr_plugin.inference import restore_frames
from vsr_plugin.inference.engine import restore_piece
from vsr_plugin.inference.storage import DiskCache, MemoryCache
from vsr_plugin.models import BasicVSRNet


def random_clip(t: int, h: int, w: int) -> list[torch.Tensor]:
    return list(torch.rand(t, 3, h, w, generator=torch.Generator().manual_seed(t)))


def whole(net, clip):
    with torch.no_grad():
        return net(torch.stack(clip)[None])[0]


def collect(pieces) -> torch.Tensor:
    numbers, frames = zip(*pieces, strict=True)
    assert list(numbers) == list(range(numbers[0], numbers[0] + len(numbers)))
    return torch.stack(frames)


@pytest.mark.parametrize(("t", "h", "w"), [(1, 9, 13), (2, 16, 16), (7, 5, 7), (50, 8, 9), (200, 4, 6)])
@pytest.mark.parametrize("keep_states", [True, False])
def test_exact_equals_whole(either_net, tmp_path, t, h, w, keep_states):
    clip = random_clip(t, h, w)
    with closing(DiskCache(tmp_path)) as cache:
        out = collect(restore_piece(either_net, clip, block=8, cache=cache, keep_states=keep_states))
    torch.testing.assert_close(out, whole(either_net, clip), atol=1e-5, rtol=0)


@pytest.mark.parametrize("block", [1, 3, 5, 11, 12, 100])
def test_any_block_length(either_net, tmp_path, block):
    clip = random_clip(11, 6, 10)
    with closing(DiskCache(tmp_path)) as cache:
        out = collect(restore_piece(either_net, clip, block=block, cache=cache, keep_states=False))
    torch.testing.assert_close(out, whole(either_net, clip), atol=1e-5, rtol=0)


def test_in_memory(either_net):
    clip = random_clip(9, 6, 10)
    out = collect(restore_piece(either_net, clip, block=9, cache=MemoryCache()))
    assert torch.equal(out, whole(either_net, clip))


class AtOnce(BasicVSRNet):
    """Pairs the steps of its branches, on any device; the class knows how often, since ``accelerate`` makes copies."""

    pairs = 0

    def branches_at_once(self, lrs):
        return not torch.is_grad_enabled()

    def steps(self, group, inputs):
        AtOnce.pairs += len(group) == 2
        return super().steps(group, inputs)


@pytest.fixture(params=[{}, dict(propagation="local", segments=2)], ids=["bidirectional", "local"])
def both_ways(request, monkeypatch):
    """The same network with its branches at once and in turn."""
    monkeypatch.setattr(AtOnce, "pairs", 0)
    torch.manual_seed(1)
    at_once, in_turn = (
        cls(mid_channels=8, num_blocks=1, spynet_width=4, **request.param).eval() for cls in (AtOnce, BasicVSRNet)
    )
    in_turn.load_state_dict(at_once.state_dict())
    return at_once, in_turn


@pytest.mark.parametrize("t", [1, 2, 5])
def test_branches_at_once_give_the_same_frames(both_ways, t):
    at_once, in_turn = both_ways
    clip, steps, shown = random_clip(t, 6, 10), [], []
    guard, cache = FiniteGuard(), MemoryCache()
    guard.watch = lambda *tensors: shown.extend(tensors)
    out = collect(restore_piece(at_once, clip, block=t, cache=cache, on_step=steps.append, guard=guard))
    assert AtOnce.pairs == t
    assert torch.equal(out, collect(restore_piece(in_turn, clip, block=t, cache=MemoryCache())))
    assert steps == [*reversed(range(t)), *range(t)]
    assert len(shown) == 2 + 3 * t, "flow both ways; of every frame both states and the result"
    assert not [kind for kind, _ in cache._tensors if kind in ("backward", "forward")], "states go with their frames"


@pytest.mark.parametrize("strategy", ["whole", "window"])
def test_strategies_that_keep_states_in_memory_run_branches_at_once(both_ways, strategy):
    at_once, in_turn = both_ways
    if at_once.propagation.cuts_sequences and strategy == "window":
        pytest.skip("windows do not go with local propagation")
    clip = random_clip(7, 6, 10)
    got, expected = (list(restore_frames(net, clip, strategy=strategy)) for net in (at_once, in_turn))
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    assert AtOnce.pairs == 7


@pytest.mark.parametrize("on_disk", [True, False])
def test_elsewhere_branches_run_in_turn(both_ways, tmp_path, on_disk):
    at_once, in_turn = both_ways
    clip = random_clip(5, 6, 10)
    with closing(DiskCache(tmp_path)) as disk:
        out = collect(restore_piece(at_once, clip, block=5 if on_disk else 3, cache=disk if on_disk else MemoryCache()))
    assert AtOnce.pairs == 0
    torch.testing.assert_close(out, whole(in_turn, clip), atol=1e-5, rtol=0)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("keep_states", [True, False])
def test_a_run_killed_anywhere_goes_on_bit_for_bit(either_net, tmp_path, keep_states):
    """Interrupt after every count of steps, go on, and compare; both sweeps are hit."""
    clip = random_clip(11, 4, 5)
    options = dict(block=3, keep_states=keep_states)
    expected = collect(restore_piece(either_net, clip, cache=DiskCache(tmp_path), **options))
    for steps in range(1, 2 * 11, 3):
        folder = tmp_path / str(steps)
        folder.mkdir()
        left = iter(range(steps))

        def on_step(i, left=left):
            if next(left, None) is None:
                raise Killed

        done = {}
        with closing(DiskCache(folder)) as cache, contextlib.suppress(Killed):
            for i, hr in restore_piece(either_net, clip, cache=cache, on_step=on_step, **options):
                done[i] = hr.clone()
        assert len(done) < 11
        first_block = max(done) // 3 if done else 0
        with closing(DiskCache(folder)) as cache:
            for i, hr in restore_piece(either_net, clip, cache=cache, first_block=first_block, **options):
                done[i] = hr
        assert torch.equal(torch.stack([done[i] for i in range(11)]), expected)


def test_the_first_sweep_is_not_repeated(either_net, tmp_path):
    clip, steps = random_clip(12, 4, 4), []
    with closing(DiskCache(tmp_path)) as cache:
        next(restore_piece(either_net, clip, block=4, cache=cache))
    with closing(DiskCache(tmp_path)) as cache:
        list(restore_piece(either_net, clip, block=4, cache=cache, on_step=steps.append))
    assert steps == list(range(12))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sides"),
    [("BasicVSRNet", 1), ("IconVSRNet", 1), ("BasicVSRPlusPlusNet", 1), ("BasicVSRPlusPlusNet", 4)],
)
def test_memory_does_not_grow_with_the_length(tmp_path, name, sides):
    import subprocess
    import sys

    script = """
import resource, sys, tempfile, torch
import vsr_plugin.models
from vsr_plugin.inference import restore_frames
torch.manual_seed(0)
sides = int(sys.argv[4])
task = dict(is_low_res_input=False) if sides > 1 else {}
net = getattr(vsr_plugin.models, sys.argv[3])(mid_channels=16, num_blocks=1, **task).eval()
frames = (torch.rand(3, sides * 96, sides * 128) for _ in range(int(sys.argv[1])))
for hr in restore_frames(net, frames, strategy='exact', work_dir=sys.argv[2]):
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-c", script, str(t), tmp_path, name, str(sides)], capture_output=True, check=True
            ).stdout
        )
        for t in (50, 400)
    ]
    print(f"{name}, sides {sides}: {peaks[0] / 1024:.0f} and {peaks[1] / 1024:.0f} MB")
    assert peaks[1] <= 1.1 * peaks[0]
