"""tools/train.py on both stages of RealBasicVSR: killed, resumed, tested."""

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from forked_tools import TOOLS, ForkedTool
from small_vgg import save_vgg

from vsr_plugin.training.checkpoint_files import latest_checkpoint

CONFIGS = TOOLS.parent / "configs"
SMALL = """
_base_ = {base!r}
my_clips_root = {root!r}
total_batch_size = 1
max_iters = 6
model = dict(
    generator=dict(
        mid_channels=4, num_propagation_blocks=1, num_cleaning_blocks=1, spynet_width=4,
        spynet_pretrained=None, init_cfg={start},
    ),
    {gan}
)
train_cfg = dict(val_interval=6)
train_dataloader = dict(batch_size=1, num_workers=1, pin_memory=False, dataset=dict(gt_size=32))
val_dataloader = dict(num_workers=0, persistent_workers=False)
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))
"""


def write_stage(number: int, folder: Path, start: Path | None = None) -> Path:
    """Write a small experiment of stage 1 or 2, and its clips."""
    rng = np.random.default_rng(0)
    for name, frames in (("train/a", 16), ("train/b", 20), ("val/c", 2)):
        path = folder / f"clips/{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rng.integers(0, 256, (frames, 40, 48, 3), np.uint8))
    gan = f"perceptual_loss=dict(weights={str(save_vgg(folder))!r}), discriminator=dict(mid_channels=4),"
    config = folder / f"stage_{number}.py"
    config.write_text(
        SMALL.format(
            base=str(CONFIGS / f"real_basicvsr_{'wogan_' if number == 1 else ''}my_clips.py"),
            root=str(folder / "clips"),
            start=None if start is None else f"dict(type='Pretrained', checkpoint={str(start)!r})",
            gan=gan if number == 2 else "",
        )
    )
    return config


def finish(*arguments: object) -> str:
    status, out, err = ForkedTool(*arguments).wait()
    assert status == 0, out + err
    return out + err


@pytest.mark.parametrize("number", [1, 2])
def test_a_killed_stage_resumes_to_the_same_weights(number: int, tmp_path: Path) -> None:
    config, straight, killed = write_stage(number, tmp_path), tmp_path / "straight", tmp_path / "killed"
    finish("train", config, "--work-dir", straight)
    process = ForkedTool("train", config, "--work-dir", killed)
    while latest_checkpoint(killed) is None and process.poll() is None:
        time.sleep(0.02)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert latest_checkpoint(killed).name != "iter_6.pth"
    finish("train", config, "--work-dir", killed, "--resume")
    states = [torch.load(run / "iter_6.pth", weights_only=True)["state_dict"] for run in (straight, killed)]
    assert any(key.startswith("generator_ema.") for key in states[0])
    assert (number == 2) == any(key.startswith("discriminator.") for key in states[0])
    assert states[0].keys() == states[1].keys()
    for key, tensor in states[0].items():
        assert torch.equal(tensor, states[1][key]), key


def test_stage_2_begins_where_stage_1_ends_and_is_tested_without_a_vgg(tmp_path: Path) -> None:
    finish("train", write_stage(1, tmp_path), "--work-dir", tmp_path / "one")
    config = write_stage(2, tmp_path, start=tmp_path / "one" / "iter_6.pth")
    finish("train", config, "--work-dir", tmp_path / "two")
    (scalars,) = (tmp_path / "two").glob("*/vis_data/scalars.json")
    entries = [json.loads(line) for line in scalars.read_text().splitlines()]
    names = {"loss_pix", "loss_clean", "loss_perceptual", "loss_gan", "loss_d_real", "loss_d_fake"}
    steps = [entry for entry in entries if "loss" in entry]
    assert all(entry["loss"] == pytest.approx(sum(entry[name] for name in names), rel=1e-5) for entry in steps)
    (tmp_path / "vgg19.pth").unlink()
    output = finish(
        "test", config, tmp_path / "two" / "iter_6.pth", "--work-dir", tmp_path / "tested", "--device", "cpu"
    )
    assert "testing RealBasicVSRNet" in output
    psnr = [entry["val/PSNR"] for entry in entries if "val/PSNR" in entry][-1]
    assert f"{psnr:.2f}" in output
