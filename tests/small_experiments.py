"""Experiments of configs/ on data of their layout made on the spot, the network and its crops as small as possible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mmengine.config import Config
from small_vgg import save_vgg

from vsr_plugin.training.launching import read_experiment

CONFIGS = Path(__file__).parents[1] / "configs"


def make_sets(root: Path) -> None:
    """Write all sets under `data/`, and the small clips, packed, the smallest possible."""
    rng = np.random.default_rng(0)

    def clip(name: str, frames: int, side: int = 32) -> None:
        path = root / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rng.integers(0, 256, (frames, side, side, 3), np.uint8))

    for name in ("000", "011", "015", "020", "001"):
        clip(f"data/REDS/train_sharp/{name}", 30)
    for name in ("000", "001", "006", "017", "002"):
        clip(f"data/REDS/val_sharp/{name}", 30 if name == "002" else 2)
    for name in ("00001/0001", "00001/0002"):
        clip(f"data/vimeo90k/sequences/{name}", 7)
    (root / "data/vimeo90k/sep_trainlist.txt").write_text("00001/0001\n")
    (root / "data/vimeo90k/sep_testlist.txt").write_text("00001/0002\n")
    for name in ("Vid4/GT/city", "UDM10/GT/000", "my_clips/val/a"):
        clip(f"data/{name}", 2)
    clip("data/my_clips/train/b", 15)
    clip("data/held_out/a", 2)
    for name in ("photograph_by_somebody", "video_by_2"):
        clip(f"data/material/{name}", 8)
    clip("data/drawings/drawing_by_somebody", 8)
    clip("work_dirs/train_demo/data/packed/GT/bikes", 5, 96)
    clip("work_dirs/train_demo/data/packed/GT/carphone_pristine", 2)
    (root / "work_dirs/train_demo/data/train.txt").write_text("bikes\n")
    (root / "work_dirs/train_demo/data/test.txt").write_text("carphone_pristine\n")


def shrink(name: str, work_dir: Path, recipe: str | None = None) -> Config:
    """The experiment with a small network from random weights, small crops, and two steps."""
    cfg = read_experiment(CONFIGS / f"{name}.py", recipe)
    cfg.work_dir, cfg.launcher, cfg.log_level = str(work_dir), "none", "ERROR"
    # mmengine shares logs and best scores between runs of one name within a second; each test has a folder of its own.
    cfg.experiment_name = f"{Path(name).name}-{work_dir.parent.name}-{work_dir.name}"
    generator = dict(mid_channels=8, num_blocks=1, spynet_width=4, init_cfg=None, spynet_pretrained=None)
    kind = cfg.model.generator.type
    if kind == "IconVSRNet":
        generator["edvr_pretrained"] = None
    elif kind == "RealBasicVSRNet":
        del generator["num_blocks"]
        generator |= dict(num_propagation_blocks=1, num_cleaning_blocks=1)
    elif kind == "FootageCleaning":
        generator = dict(mid_channels=8, num_blocks=1)
    elif kind == "QuantiserEstimator":
        generator = dict(mid_channels=8)
    cfg.merge_from_dict(dict(model=dict(generator=generator), train_cfg=dict(max_iters=2, val_interval=2)))
    # Which makes the difference from weights that are larger.
    cfg.custom_hooks = [hook for hook in cfg.get("custom_hooks", []) if hook.type != "SaveAdaptation"]
    if "discriminator" in cfg.model:
        cfg.model.discriminator.mid_channels = 4
        cfg.model.perceptual_loss.weights = str(save_vgg(work_dir))
    cfg.train_dataloader.update(batch_size=1, num_workers=0, persistent_workers=False, pin_memory=False)
    cfg.val_dataloader.num_workers = 0
    for dataset in cfg.train_dataloader.dataset.get("datasets", [cfg.train_dataloader.dataset]):
        dataset.gt_size = 32
    return cfg
