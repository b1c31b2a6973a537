"""Files restored by BasicVSR++, at four times the size and at the same: by shots, by workers, killed and resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from vsr_plugin.inference import restore_frames
from vsr_plugin.models import BasicVSRPlusPlusNet
from vsr_plugin.restoration import RestoreOptions, restore_video
from vsr_plugin.restoration.executors import ThisProcess, WorkerProcesses

SWEEPS = ("backward_1", "forward_1", "backward_2", "forward_2")


class Killed(BaseException):
    """What stops a job at any place."""


@pytest.fixture(scope="module", params=[True, False], ids=["x4", "x1"])
def net(request: pytest.FixtureRequest) -> nn.Module:
    """A small network whose displacements leave the pixel."""
    torch.manual_seed(0)
    net = BasicVSRPlusPlusNet(8, 1, is_low_res_input=request.param, spynet_width=4).eval().requires_grad_(False)
    for name, parameter in net.named_parameters():
        if "conv_offset.6" in name:
            parameter.normal_(std=0.3)
    return net


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Of which each of two workers takes one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def one_thread() -> ThisProcess:
    """This process as one worker of two."""
    executor = ThisProcess()
    executor.default_threads = lambda: 1
    return executor


def shots(*lengths: int) -> list[list[np.ndarray]]:
    """Pictures of 17 x 22 that pan, those of each shot apart."""
    found = []
    for seed, length in enumerate(lengths):
        blocks = np.random.default_rng(seed).integers(0, 256, (4, 24, 3), np.uint8)
        wide = cv2.resize(blocks, (22 + length, 17), interpolation=cv2.INTER_CUBIC)
        found.append([np.ascontiguousarray(wide[:, i : i + 22]) for i in range(length)])
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    def write(*lengths: int) -> Path:
        path = tmp_path / "in"
        path.mkdir()
        for i, frame in enumerate(frame for shot in shots(*lengths) for frame in shot):
            cv2.imwrite(str(path / f"{i:03d}.png"), frame[..., ::-1])
        return path

    return write


def images(path: Path) -> list[np.ndarray]:
    return [cv2.imread(str(file))[..., ::-1] for file in sorted(path.iterdir())]


def test_propagation_restarts_where_shots_begin(net: nn.Module, folder: Callable, tmp_path: Path) -> None:
    restore_video(folder(9, 11), tmp_path / "out", net, RestoreOptions(scene_cuts="on"))
    apart = [hr for shot in shots(9, 11) for hr in restore_frames(net, shot)]
    together = list(restore_frames(net, [frame for shot in shots(9, 11) for frame in shot]))
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
