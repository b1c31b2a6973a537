import multiprocessing
import os

import cv2
import numpy as np
import pytest
import torch
from commands import Command, shots

from vsr_plugin.models import BasicVSRNet


@pytest.fixture(scope="module")
def processes():
    """Starts processes that have imported everything already, with one thread each, whose result is repeatable."""
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vsr_plugin.inference", "vsr_plugin.weights", "vsr_plugin.cli.command"])
    yield context
    if threads is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = threads


@pytest.fixture
def start(processes, weights, tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")

    def run(*arguments, **environment) -> Command:
        return Command(processes, logs, [*arguments, "--weights", weights, "--device", "cpu"], environment)

    return run


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(dict(state_dict=BasicVSRNet(mid_channels=4, num_blocks=1, spynet_width=4).state_dict()), path)
    return path


@pytest.fixture
def clip(media, tmp_path):
    """A video of three scenes, the last too long for one segment, with audio."""
    pictures = shots(20, 9, 121)
    return media.make_clip(tmp_path / "in.mp4", n=150, size=(16, 24), pictures=pictures, audio="aac")


@pytest.fixture
def restore_error(run_tool, weights):
    small = weights

    def run(*arguments, weights=None) -> str:
        status, _, error = run_tool("restore_video", *arguments, "--weights", weights or small, "--device", "cpu")
        assert status == 1
        lines = [line for line in error.splitlines() if "frames [" not in line and line.strip()]
        assert len(lines) == 1
        return lines[0]

    return run


@pytest.fixture
def restore(run_tool, weights):
    def run(*args, status=0):
        got, out, err = run_tool("restore_video", *args, *([] if "--weights" in args else ["--weights", weights]))
        assert got == status, err
        return out if status == 0 else err

    return run


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in (2, 9, 10, 11):
        cv2.imwrite(str(folder / f"f{i}.png"), rng.integers(0, 256, (10, 14, 3), np.uint8))
    return folder
