"""BasicVSR++ streamed, in windows, in tiles, killed and resumed, at four times the size and at the same."""

from __future__ import annotations

import itertools
from contextlib import closing
from pathlib import Path

import pytest
import torch
from jobs_of_shots import moving_basicvsr_pp
from torch import Tensor, nn

from vsr_plugin.inference import restore_frames
from vsr_plugin.inference.engine import restore_piece
from vsr_plugin.inference.planning import MemoryModel, Plan
from vsr_plugin.inference.sequence import restore_sequence
from vsr_plugin.inference.storage import DiskCache, MemoryCache, needed_bytes
from vsr_plugin.models import BasicVSRPlusPlusNet


class Killed(BaseException):
    """What stops a run at any place."""


@pytest.fixture(scope="module", params=[True, False], ids=["x4", "x1"])
def net(request: pytest.FixtureRequest) -> nn.Module:
    return moving_basicvsr_pp(is_low_res_input=request.param)


def clip_of(t: int, h: int = 13, w: int = 18) -> list[Tensor]:
    return list(torch.rand(t, 3, h, w, generator=torch.Generator().manual_seed(t)))


def whole(net: nn.Module, clip: list[Tensor]) -> Tensor:
    return net(torch.stack(clip)[None])[0]


def collect(restored) -> Tensor:
    return torch.stack([hr for _, hr in restored])


@pytest.mark.parametrize("keep_states", [True, False])
@pytest.mark.parametrize(("t", "block"), [(1, 1), (2, 1), (7, 3), (50, 8)])
def test_streamed_equals_whole(net: nn.Module, tmp_path: Path, t: int, block: int, keep_states: bool) -> None:
    clip = clip_of(t)
    with closing(DiskCache(tmp_path)) as cache:
        streamed = collect(restore_piece(net, clip, block=block, cache=cache, keep_states=keep_states))
    torch.testing.assert_close(streamed, whole(net, clip), rtol=0, atol=1e-5)


@pytest.mark.parametrize("keep_states", [True, False])
def test_killed_in_each_sweep_and_resumed(net: nn.Module, tmp_path: Path, monkeypatch, keep_states: bool) -> None:
    clip, step = clip_of(7, 5, 6), BasicVSRPlusPlusNet.step
    expected = collect(restore_piece(net, clip, block=3, cache=MemoryCache(), keep_states=keep_states))
    seen = []
    for kill_at in itertools.count(2, 4):
        folder = tmp_path / str(kill_at)
        folder.mkdir()
        left, got = iter(range(kill_at)), {}

        def step_or_die(net, sweep, inputs, left=left):
            if next(left, None) is None:
                seen.append(sweep.name)
                raise Killed
            return step(net, sweep, inputs)

        with monkeypatch.context() as patch, closing(DiskCache(folder)) as cache:
            patch.setattr(BasicVSRPlusPlusNet, "step", step_or_die)
            try:
                got.update(restore_piece(net, clip, block=3, cache=cache, keep_states=keep_states))
                break  # it came to its end
            except Killed:
                pass
        first_block = max(got) // 3 if got else 0
        with closing(DiskCache(folder)) as cache:
            resumed = restore_piece(net, clip, block=3, cache=cache, keep_states=keep_states, first_block=first_block)
            got |= dict(resumed)
        assert torch.equal(torch.stack([got[i] for i in range(7)]), expected), kill_at
    assert set(seen) == {"backward_1", "forward_1", "backward_2", "forward_2"}


@pytest.mark.parametrize("strategy", ["whole", "exact"])
def test_accelerated_frames(net: nn.Module, strategy: str) -> None:
    clip = clip_of(5)
    restored = torch.stack(list(restore_frames(net, clip, strategy=strategy)))
    torch.testing.assert_close(restored, whole(net, clip).clamp(0, 1), rtol=0, atol=1e-4)


def test_windows_and_another_size(net: nn.Module) -> None:
    clip = clip_of(6)
    in_windows = torch.stack(list(restore_frames(net, clip, strategy="window", window=2, overlap=6)))
    torch.testing.assert_close(in_windows, whole(net, clip).clamp(0, 1), rtol=0, atol=1e-4)
    assert next(iter(restore_frames(net, clip, height=10))).shape == (3, 10, 14)


def test_what_it_takes_on_disk_is_counted(net: nn.Module, tmp_path: Path) -> None:
    clip = clip_of(12, 16, 24)
    collect(restore_sequence(net, clip, Plan("exact", 4), folder=tmp_path, persistent=True))
    written = sum(path.stat().st_size for path in tmp_path.rglob("*.bin"))
    needed = needed_bytes(net, 12, 16 * 24, 4, states=True)
    assert written <= needed <= 1.15 * written


def test_memory_is_counted_at_the_resolution_of_the_features() -> None:
    x4, x1 = (BasicVSRPlusPlusNet(is_low_res_input=low) for low in (True, False))
    small, large = MemoryModel(x4, 180, 320), MemoryModel(x1, 720, 1280)
    frames = 3 * 12 * (720 * 1280 - 180 * 320)
    assert large.per_frame - small.per_frame == frames
    assert small.per_frame == (4 * 64 * 4 + 16 + 36) * 180 * 320
    assert large.working(None) == small.working(None)
