"""Files restored by BasicVSR++, at four times the size and at the same: by shots, by workers, killed and resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import jobs_of_shots
import numpy as np
import pytest
import torch
from jobs_of_shots import moving_basicvsr_pp, one_thread, pictures
from torch import nn

from vsr_plugin.inference import restore_frames
from vsr_plugin.models import BasicVSRPlusPlusNet
from vsr_plugin.restoration import RestoreOptions, restore_video
from vsr_plugin.restoration.executors import WorkerProcesses

SIZE = (17, 22)
SWEEPS = ("backward_1", "forward_1", "backward_2", "forward_2")


class Killed(BaseException):
    """What stops a job at any place."""


@pytest.fixture(scope="module", params=[True, False], ids=["x4", "x1"])
def net(request: pytest.FixtureRequest) -> nn.Module:
    return moving_basicvsr_pp(is_low_res_input=request.param)


two_threads = pytest.fixture(jobs_of_shots.two_threads)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    def write(*lengths: int) -> Path:
        path = tmp_path / "in"
        path.mkdir()
        for i, frame in enumerate(pictures(*lengths, size=SIZE)):
            cv2.imwrite(str(path / f"{i:03d}.png"), frame[..., ::-1])
        return path

    return write


def images(path: Path) -> list[np.ndarray]:
    return [cv2.imread(str(file))[..., ::-1] for file in sorted(path.iterdir())]


def test_propagation_restarts_where_shots_begin(net: nn.Module, folder: Callable, tmp_path: Path) -> None:
    restore_video(folder(9, 11), tmp_path / "out", net, RestoreOptions(scene_cuts="on"))
    frames = pictures(9, 11, size=SIZE)
    apart = [hr for shot in (frames[:9], frames[9:]) for hr in restore_frames(net, shot)]
    together = list(restore_frames(net, frames))
    found = images(tmp_path / "out")
    np.testing.assert_array_equal(found, apart)
    assert not np.array_equal(found, together)


@pytest.mark.usefixtures("two_threads")
def test_two_workers_give_the_frames_of_one(net: nn.Module, folder: Callable, tmp_path: Path) -> None:
    source, options = folder(9, 8, 10), RestoreOptions(scene_cuts="on")
    restore_video(source, tmp_path / "one", net, options, executor=one_thread())
    with WorkerProcesses([torch.device("cpu")] * 2) as workers:
        restore_video(source, tmp_path / "two", net, options, executor=workers)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("strategy", ["exact", "whole"])
def test_killed_in_a_sweep_and_resumed(
    net: nn.Module, folder: Callable, tmp_path: Path, monkeypatch, strategy: str, sweep: str
) -> None:
    source, options = folder(12), dict(strategy=strategy, scene_cuts="off")
    restore_video(source, tmp_path / "whole", net, RestoreOptions(**options))
    step, calls = BasicVSRPlusPlusNet.step, []

    def step_or_die(net, at, inputs):
        calls.append(at.name)
        if calls.count(sweep) == 5:
            raise Killed
        return step(net, at, inputs)

    with monkeypatch.context() as patch:
        patch.setattr(BasicVSRPlusPlusNet, "step", step_or_die)
        with pytest.raises(Killed):
            restore_video(source, tmp_path / "out", net, RestoreOptions(**options))
    assert not (tmp_path / "out").exists()
    restore_video(source, tmp_path / "out", net, RestoreOptions(**options, resume=True))
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
