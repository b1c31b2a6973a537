"""Every block of docs/mmagic.md runs, on a tiny clip."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from vsr_plugin.__main__ import main

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "docs" / "mmagic.md").read_text(), flags=re.DOTALL)
#: What makes a training of seconds of the one on the page.
SMALL = [
    "--cfg-options",
    "train_cfg.max_iters=2",
    *(f"train_dataloader.{change}" for change in ("batch_size=1", "num_workers=0", "persistent_workers=False")),
    *(f"train_dataloader.dataset.{change}" for change in ("gt_size=32", "num_input_frames=2")),
    *(f"model.generator.{change}" for change in ("mid_channels=4", "num_blocks=1", "spynet_width=4", "init_cfg=None")),
    "model.generator.spynet_pretrained=None",
]


@pytest.fixture
def workplace(
    folder: Path, video: Path, lrs: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official: str
) -> Path:
    """A folder with what the page takes for granted, and the process in it."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    shutil.copytree(folder, tmp_path / "frames")
    shutil.copy(video, tmp_path / "in.mp4")
    for part in ("train", "val"):
        (tmp_path / "data" / "my_clips" / part).mkdir(parents=True)
        np.save(tmp_path / "data" / "my_clips" / part / "clip.npy", np.stack(lrs)[:, :, :32])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("LOCAL_RANK", "0")
    return tmp_path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("block", [code for kind, code in BLOCKS if kind == "python"])
@pytest.mark.usefixtures("workplace")
def test_python(block: str) -> None:
    exec(compile(block, "docs/mmagic.md", "exec"), {})
    outputs = re.findall(r'result_out_dir="([^"]+)"', block)
    assert all(Path(output).exists() for output in outputs)


@pytest.mark.parametrize("line", [line for kind, code in BLOCKS if kind == "bash" for line in code.splitlines()])
def test_command(line: str, workplace: Path) -> None:
    words = shlex.split(line)
    assert words[:3] == ["python", "-m", "vsr_plugin"]
    assert main([*words[3:], *(SMALL if "train" in words else [])]) == 0
    assert any((workplace / words[-1]).iterdir())
