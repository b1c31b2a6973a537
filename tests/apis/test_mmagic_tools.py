"""MMagic's own tools/train.py and tools/test.py, unmodified, with an experiment of ours."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from vsr_plugin.__main__ import main
from vsr_plugin.cli.mmagic import tools_folder

ROOT = Path(__file__).parents[2]

EXPERIMENT = """
_base_ = [
    "{configs}/_base_/models/basicvsr.py",
    "{configs}/_base_/datasets/my_clips.py",
    "{configs}/_base_/schedules/basicvsr_300k.py",
    "{configs}/_base_/runtime.py",
]
model = dict(generator=dict({sizes}, spynet_pretrained=None))
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False,
    dataset=dict(gt_root="{clips}", num_input_frames=3, gt_size=64),
)
val_dataloader = _base_.val_dataloader
val_dataloader.num_workers = 0
val_dataloader.dataset.gt_root = "{clips}"
test_dataloader = [val_dataloader]
train_cfg = dict(max_iters=3, val_interval=3)
custom_hooks = [dict(type="FreezeModules", modules=["generator.spynet"], steps=2)]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=3))
visualizer = dict(vis_backends=[dict(type="LocalVisBackend")])
"""


@pytest.fixture
def experiment(lrs: list[np.ndarray], configs: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a config on the real frames, with the given sizes of the network."""
    (tmp_path / "clips").mkdir()
    frames = np.stack(lrs)[:, :, :32].repeat(2, 1).repeat(2, 2)
    np.save(tmp_path / "clips" / "carphone.npy", frames)

    def write(name: str, sizes: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(EXPERIMENT.format(configs=configs, clips=tmp_path / "clips", sizes=sizes))
        return path

    return write


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Run a tool of MMagic's in this process."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("LOCAL_RANK", "0")
    yield lambda *arguments: main(["mmagic", *map(str, arguments)])
    logging.shutdown()


def test_mmagics_tools_train_and_test(
    experiment: Callable[..., Path], tool: Callable[..., int], tmp_path: Path
) -> None:
    config = experiment("experiment", "mid_channels=4, num_blocks=1, spynet_width=4")
    assert tool("train", config, "--work-dir", tmp_path / "run") == 0
    saved = torch.load(tmp_path / "run" / "iter_3.pth", weights_only=True)
    assert saved["meta"]["iter"] == 3
    assert all(key.startswith("generator.") for key in saved["state_dict"])
    # A name of its own, since mmengine goes on in the log of a run of the same name and second.
    options = "--work-dir", tmp_path / "test", "--cfg-options", "experiment_name=tested"
    assert tool("test", config, tmp_path / "run" / "iter_3.pth", *options) == 0
    (log,) = (tmp_path / "test").glob("*/*.log")
    trained = float(re.search(r"PSNR\S*: (\d+\.\d+)", log.read_text())[1])
    assert 5 < trained < 40


def test_mmagics_test_scores_official_weights(
    experiment: Callable[..., Path], official: str, tool: Callable[..., int], tmp_path: Path
) -> None:
    """By name, in BasicSR's layout; the frames are enlarged by pixel repetition, which no figure is published for."""
    config = experiment("official", "mid_channels=64, num_blocks=30")
    assert tool("test", config, official, "--work-dir", tmp_path / "test") == 0
    (log,) = (tmp_path / "test").glob("*/*.log")
    assert float(re.search(r"PSNR\S*: (\d+\.\d+)", log.read_text())[1]) > 20


def test_the_tool_starts_in_a_process_of_its_own(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "vsr_plugin", "mmagic", "train", "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "--auto-scale-lr" in done.stdout


def test_a_tool_that_mmagic_has_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert (tools_folder() / "test.py").is_file()
    assert main(["mmagic", "tain"]) == 1
    assert "error: MMagic has no tool 'tain'; it has test, train, and more" in capsys.readouterr().err
