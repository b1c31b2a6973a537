"""A network of scale 2 from trained weights of scale 4, tested and restored with, each by its tool."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from experiment import pan, write_experiment
from forked_tools import ForkedTool

from vsr_plugin.weights import load_net


def run(tool: str, *arguments: object) -> tuple[int, str, str]:
    """Run a tool in a process of its own, since mmengine's loggers hold on to the streams they began with."""
    return ForkedTool(tool, *arguments).wait()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    """Return the folder of a training of four steps, in which one branch stays as it is."""
    folder = tmp_path_factory.mktemp("trained")
    config = write_experiment(folder)
    with open(config, "a") as file:
        file.write(
            "train_cfg = dict(max_iters=4, val_interval=4)\ncustom_hooks = []\n"
            f"model['generator']['init_cfg'] = dict(type='Pretrained', checkpoint='{weights}')\n"
            "model['frozen'] = ['generator.backward_resblocks', 'generator.conv_hr']\n"
        )
    status, _, err = run("train", config, "--scale", 2, "--work-dir", folder / "run")
    assert status == 0, err
    return folder


def test_train_test_and_restore(trained: Path, weights: Path, run_tool, monkeypatch) -> None:
    checkpoint = trained / "run" / "iter_4.pth"
    net, before = load_net(checkpoint), load_net(weights)
    assert (net.scale, before.scale) == (2, 4)
    assert torch.equal(net.backward_resblocks.main[0].weight, before.backward_resblocks.main[0].weight)
    assert not torch.equal(net.conv_hr.weight, before.conv_hr.weight)

    # The config still is of scale 4; the weights tell. Figures go beside those of the same step of another scale.
    monkeypatch.chdir(trained)
    status, out, err = run("test", trained / "experiment.py", checkpoint, "--baseline")
    assert status == 0, err
    assert (trained / "work_dirs" / "experiment_x2" / "test_iter_4" / "val.json").is_file()
    assert "iter_4.pth: weights of scale 2, so the sets are tested at that scale" in out
    # The config that the training left is of scale 2, and tests weights of scale 4 all the same.
    status, out, err = run("test", trained / "run" / "experiment.py", weights, "--work-dir", trained / "again")
    assert status == 0, err
    assert "weights of scale 4" in out

    (trained / "lr").mkdir()
    for i, rgb in enumerate(pan(5, 3, 20, 28)):
        cv2.imwrite(str(trained / "lr" / f"{i}.png"), rgb[..., ::-1])
    status, out, err = run_tool("restore_video", trained / "lr", trained / "hr", "--weights", checkpoint)
    assert status == 0, err
    assert "28x20 -> 56x40" in out
    restored = [cv2.imread(str(path)) for path in sorted((trained / "hr").iterdir())]
    assert [picture.shape for picture in restored] == [(40, 56, 3)] * 3
    assert np.std(restored[0]) > 10


def test_resuming_at_another_scale(trained: Path) -> None:
    status, _, err = run(
        "train", trained / "experiment.py", "--work-dir", trained / "run", "--resume", "--cfg-options", "max_iters=20"
    )
    assert status == 1
    message = "iter_4.pth: weights of scale 2, the network is of scale 4; build it with scale=2"
    assert message in err.splitlines()[-1]
    assert "--scale 2" in err.splitlines()[-1]


def test_studies_of_another_scale(trained: Path, run_tool) -> None:
    checkpoint = trained / "run" / "iter_4.pth"
    few = ["--frames", 4, "--clips", "bikes", "--size", "32x48", "--out", trained / "studies"]
    status, _, err = run_tool("study", "segments", "--weights", checkpoint, *few)
    assert status == 0, err
    status, _, err = run_tool("study", "keyframes", "--weights", checkpoint, *few)
    assert status == 1
    assert "weights of scale 2; refill is added to BasicVSR at scale 4" in err.splitlines()[-1]


def test_a_scale_that_does_not_exist(tmp_path: Path, run_tool) -> None:
    status, _, err = run_tool("train", write_experiment(tmp_path), "--scale", 5)
    assert status == 2
    assert "argument --scale: invalid choice: 5" in err
