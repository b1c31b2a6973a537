"""Self-ensembles: the mean of all turns, by every strategy, and taken up wherever it was stopped."""

import contextlib
import os
import shutil
from itertools import combinations, islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vsr_plugin.errors import VSRError
from vsr_plugin.inference import restore_frames
from vsr_plugin.inference.ensemble import TURNS
from vsr_plugin.inference.planning import MemoryModel, Plan, make_plan
from vsr_plugin.inference.sequence import restore_sequence
from vsr_plugin.inference.storage import needed_bytes
from vsr_plugin.mmagic_host import import_quietly
from vsr_plugin.models import BasicVSRNet
from vsr_plugin.models.cleaning import clean_by
from vsr_plugin.models.vsr_net import with_ensemble
from vsr_plugin.registry import MODELS


def random_clip(t: int, h: int = 6, w: int = 10) -> list[torch.Tensor]:
    return list(torch.rand(t, 3, h, w, generator=torch.Generator().manual_seed(t)))


def test_turns_are_eight_and_go_back():
    picture = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)
    frame = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
    seen = [turn.of(picture) for turn in TURNS]
    assert not any(np.array_equal(a, b) for a, b in combinations(seen, 2))
    for turn, array in zip(TURNS, seen, strict=True):
        turned = turn.of(frame)
        assert array.flags.c_contiguous
        assert np.array_equal(array, (turned * 255).round().byte().permute(1, 2, 0).numpy())
        assert torch.equal(turn.back(turned), frame)


@torch.no_grad()
def test_eight_turns_are_mmagics_ensemble(either_net):
    theirs = import_quietly("mmagic.models.archs.ensemble").SpatialTemporalEnsemble(False)
    clip = random_clip(4)
    expected = theirs(torch.stack(clip)[None], either_net)[0].clamp(0, 1)
    restored = torch.stack(list(restore_frames(either_net, clip, ensemble=8)))
    torch.testing.assert_close(restored, expected, atol=1e-5, rtol=0)
    once = torch.stack(list(restore_frames(either_net, clip)))
    assert (once - restored).abs().max() > 1e-3


def test_every_strategy_gives_the_mean_of_its_turns(either_net, tmp_path):
    clip, got = [frame / 2 + 0.25 for frame in random_clip(9)], {}
    for strategy, options in (("whole", {}), ("exact", dict(work_dir=str(tmp_path))), ("window", dict(window=9))):
        done = []
        frames = restore_frames(either_net, clip, strategy=strategy, ensemble=4, progress=done.append, **options)
        got[strategy] = torch.stack(list(frames))
        assert sum(done) == 9
    apart = [torch.stack(list(restore_frames(either_net, [turn.of(f) for f in clip]))) for turn in TURNS[:4]]
    assert all(part.min() > 0 and part.max() < 1 for part in apart)  # else clipping would tell them apart
    mean = sum(torch.stack([turn.back(f) for f in part]) for turn, part in zip(TURNS, apart, strict=False)) / 4
    for restored in got.values():
        torch.testing.assert_close(restored, mean, atol=1e-5, rtol=0)
        torch.testing.assert_close(restored, got["whole"], atol=1e-5, rtol=0)
    assert list(tmp_path.iterdir()) == []


def test_frames_are_cleaned_in_every_turn():
    torch.manual_seed(0)
    net = BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4).eval()
    clip = [np.random.default_rng(i).integers(0, 256, (16, 24, 3), np.uint8) for i in range(3)]
    cleaned = clean_by(net, 1.0, 18.0)
    turns = []
    for turn in TURNS[:2]:
        lrs = torch.stack([torch.from_numpy(turn.of(frame)).permute(2, 0, 1) / 255 for frame in clip])
        with torch.no_grad():
            turns.append(torch.stack([turn.back(frame) for frame in cleaned(lrs[None])[0]]))
    expected = (sum(turns) / 2).clamp(0, 1).mul(255).round().permute(0, 2, 3, 1).numpy()
    restored = np.stack(list(restore_frames(cleaned, clip, ensemble=2)))
    assert np.abs(restored - expected).max() <= 1


class Killed(BaseException):
    pass


def test_killed_anywhere_it_is_taken_up_bit_for_bit(either_net, tmp_path):
    net, clip, plan = with_ensemble(either_net, 4), random_clip(7, 4, 6), Plan("exact", block=3)

    def run(folder, first=0, on_step=None):
        folder.mkdir(exist_ok=True)
        yield from restore_sequence(net, clip, plan, folder=folder, persistent=True, first_frame=first, on_step=on_step)

    steps = []
    expected = {i: hr.clone() for i, hr in run(tmp_path / "whole", on_step=steps.append)}
    assert len(steps) == 2 * 7 * 4
    for kill_at in range(0, len(steps), 9):
        left, again, done = iter(range(kill_at)), [], {}

        def on_step(i, left=left):
            if next(left, None) is None:
                raise Killed

        with contextlib.suppress(Killed):
            done.update((i, hr.clone()) for i, hr in run(tmp_path / str(kill_at), on_step=on_step))
        done.update(run(tmp_path / str(kill_at), len(done), again.append))
        assert all(torch.equal(done[i], expected[i]) for i in range(7))
        # Whole turns are not done again, nor sweeps of the turn that was stopped.
        assert len(again) <= len(steps) - kill_at // 14 * 14


def test_the_disk_holds_two_sums_and_the_plan_knows(small_net, tmp_path, monkeypatch):
    net, clip, plan = with_ensemble(small_net, 4), random_clip(12, 40, 60), Plan("exact", block=4)

    def used():
        return sum(path.stat().st_blocks * 512 for path in tmp_path.rglob("*"))

    size = int(1.02 * needed_bytes(net, 12, 40 * 60, 4, states=False))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=size - used()))
    deleted, folders, taken = set(), set(), []

    def on_step(i):
        for link in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the folder's own
                deleted.update(file for file in [os.readlink(link)] if str(tmp_path) in file and "(deleted)" in file)
        folders.add(len([*tmp_path.glob("*/sums-*")]))
        taken.append(used())

    frames = restore_sequence(net, clip, plan, folder=tmp_path, persistent=True, on_step=on_step, stop_frame=9)
    assert len(list(islice(frames, 9))) == 9
    assert max(taken) < size
    assert folders == {1, 2}
    assert not deleted


def test_a_number_that_is_not_finite_in_an_early_turn_is_not_handed_out(small_net, tmp_path):
    class Overflows(type(small_net)):
        def upsample(self, feat, lr):
            hr = super().upsample(feat, lr)
            return hr + torch.inf if lr.shape[-2] > lr.shape[-1] else hr

    broken = with_ensemble(small_net, 4)
    broken.__class__ = Overflows
    clip, notes = random_clip(4), []
    restored = restore_sequence(
        broken, clip, Plan("whole", block=4), folder=tmp_path, precise_net=lambda: with_ensemble(small_net, 4),
        on_note=notes.append,
    )  # fmt: skip
    expected = restore_sequence(with_ensemble(small_net, 4), clip, Plan("whole", block=4), folder=tmp_path)
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(restored, expected, strict=True))
    assert len(notes) == 1


def test_what_it_needs_is_planned(small_net):
    ensemble = with_ensemble(small_net, 8)
    once, eight = MemoryModel(small_net, 100, 100), MemoryModel(ensemble, 100, 100)
    assert (once.sum_per_frame, eight.sum_per_frame) == (0, 16 * 3 * 4 * 10_000)
    assert eight.per_frame == once.per_frame
    budget = eight.working(None) + 40 * once.per_frame
    assert [make_plan(model, budget, num_frames=40).strategy for model in (once, eight)] == ["whole", "exact"]
    assert eight.working(None) > once.working(None)
    sizes = [needed_bytes(net, 50, 10_000, 32, states=False) for net in (small_net, ensemble)]
    assert sizes[1] - sizes[0] == 2 * 50 * 16 * 3 * 4 * 10_000


def test_other_numbers_are_refused(small_net):
    with pytest.raises(VSRError, match="an ensemble of 3: choose one of 1, 2, 4, 8"):
        next(restore_frames(small_net, random_clip(2), ensemble=3))


def test_an_experiment_is_tested_with_it():
    torch.manual_seed(0)
    net = dict(type="BasicVSRNet", mid_channels=4, num_blocks=1, spynet_width=4)
    cfg = dict(type="VideoRestorer", generator=net, pixel_loss=dict(type="CharbonnierLoss"))
    model = MODELS.build({**cfg, "test_cfg": dict(ensemble=2)}).eval()
    clip = random_clip(3)
    with torch.no_grad():
        restored = model(torch.stack(clip)[None], mode="tensor")[0]
    assert torch.equal(restored, torch.stack(list(restore_frames(model.generator, clip, ensemble=2))))
