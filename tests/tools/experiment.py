"""A complete experiment of seconds, on disk: clips, and a config that inherits from those of this package."""

from pathlib import Path

import cv2
import numpy as np

CONFIGS = Path(__file__).parents[2] / "configs"

CONFIG = """
_base_ = [
    "{configs}/_base_/models/basicvsr.py",
    "{configs}/_base_/datasets/my_clips.py",
    "{configs}/_base_/schedules/basicvsr_300k.py",
    "{configs}/_base_/runtime.py",
]

custom_imports = dict(imports={imports})
total_batch_size = 2
model = dict(generator=dict(mid_channels=4, num_blocks=1, spynet_width=4, spynet_pretrained=None))
train_dataloader = dict(
    batch_size=total_batch_size, num_workers=1, pin_memory=False,
    dataset=dict(gt_root="{clips}/train", num_input_frames=3, gt_size=32),
)
val_dataloader = _base_.val_dataloader
val_dataloader.num_workers = 0
val_dataloader.dataset.gt_root = "{clips}/val"
test_dataloader = [val_dataloader]
test_evaluator = [_base_.val_evaluator]
train_cfg = dict(max_iters=20, val_interval=10)
custom_hooks = [dict(type="FreezeModules", modules=["generator.spynet"], steps=7)]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=5, max_keep_ckpts=20, save_last=True))
log_processor = dict(window_size=1)
"""


def pan(seed: int, frames: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A picture that moves by a pixel a frame, uint8 ``(frames, height, width, 3)``."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 4, (width + frames) // 4, 3), np.uint8)
    wide = cv2.resize(blocks, (width + frames, height), interpolation=cv2.INTER_CUBIC)
    return np.stack([wide[:, i : i + width] for i in range(frames)])


def write_experiment(folder: Path, imports: tuple[str, ...] = ()) -> Path:
    """Write clips and config into a folder and return the config's path."""
    for split, seeds in (("train", (0, 1, 2)), ("val", (3,))):
        clips = folder / "clips" / split
        clips.mkdir(parents=True)
        for seed in seeds:
            np.save(clips / f"clip{seed}.npy", pan(seed, 6))
    config = folder / "experiment.py"
    config.write_text(CONFIG.format(configs=CONFIGS, clips=folder / "clips", imports=["vsr_plugin", *imports]))
    return config
