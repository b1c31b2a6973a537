import contextlib
from contextlib import closing

import pytest
import torch

from vsr_plugin.inference.engine import restore_piece
from vsr_plugin.inference.tensor_cache import DiskCache, MemoryCache


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
        out = collect(restore_piece(either_net, clip, segment=8, cache=cache, keep_states=keep_states))
    torch.testing.assert_close(out, whole(either_net, clip), atol=1e-5, rtol=0)


@pytest.mark.parametrize("segment", [1, 3, 5, 11, 12, 100])
def test_any_segment_length(either_net, tmp_path, segment):
    clip = random_clip(11, 6, 10)
    with closing(DiskCache(tmp_path)) as cache:
        out = collect(restore_piece(either_net, clip, segment=segment, cache=cache, keep_states=False))
    torch.testing.assert_close(out, whole(either_net, clip), atol=1e-5, rtol=0)


def test_in_memory(either_net):
    clip = random_clip(9, 6, 10)
    out = collect(restore_piece(either_net, clip, segment=9, cache=MemoryCache()))
    assert torch.equal(out, whole(either_net, clip))


class Killed(BaseException):
    pass


@pytest.mark.parametrize("keep_states", [True, False])
def test_a_run_killed_anywhere_goes_on_bit_for_bit(either_net, tmp_path, keep_states):
    """Interrupt after every count of steps, go on, and compare; both sweeps are hit."""
    clip = random_clip(11, 4, 5)
    options = dict(segment=3, keep_states=keep_states)
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
        first_segment = max(done) // 3 if done else 0
        with closing(DiskCache(folder)) as cache:
            for i, hr in restore_piece(either_net, clip, cache=cache, first_segment=first_segment, **options):
                done[i] = hr
        assert torch.equal(torch.stack([done[i] for i in range(11)]), expected)


def test_the_first_sweep_is_not_repeated(either_net, tmp_path):
    clip, steps = random_clip(12, 4, 4), []
    with closing(DiskCache(tmp_path)) as cache:
        next(restore_piece(either_net, clip, segment=4, cache=cache))
    with closing(DiskCache(tmp_path)) as cache:
        list(restore_piece(either_net, clip, segment=4, cache=cache, on_step=steps.append))
    assert steps == list(range(12))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path):
    import subprocess
    import sys

    script = """
import resource, sys, tempfile, torch
from vsr_plugin.models import BasicVSRNet
from vsr_plugin.inference import restore_frames
torch.manual_seed(0)
net = BasicVSRNet(mid_channels=16, num_blocks=1).eval()
frames = (torch.rand(3, 96, 128) for _ in range(int(sys.argv[1])))
for hr in restore_frames(net, frames, strategy='exact', work_dir=sys.argv[2]):
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    peaks = [
        int(subprocess.run([sys.executable, "-c", script, str(t), tmp_path], capture_output=True, check=True).stdout)
        for t in (50, 400)
    ]
    assert peaks[1] <= 1.1 * peaks[0]
