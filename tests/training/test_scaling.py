"""An experiment at another scale: network, data and starting weights are fitted to it together."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from small_experiments import CONFIGS, make_sets, shrink

from vsr_plugin.errors import VSRError
from vsr_plugin.training.launching import build_runner, read_config, read_experiment
from vsr_plugin.training.shared_settings import scale_of, set_scale


def read(name: str, scale: int) -> Config:
    cfg = read_experiment(CONFIGS / f"{name}.py")
    set_scale(cfg, scale)
    return cfg


def test_patches_keep_their_size_at_lr_in_all_data_sets() -> None:
    cfg = read("iconvsr_reds", 2)
    assert scale_of(cfg) == cfg.model.generator.scale == 2
    train = cfg.train_dataloader.dataset.datasets
    assert [(part.scale, part.gt_size, part.lq_root) for part in train] == [
        (2, 128, ["data/REDS/train_sharp_bicubic/X2", "data/REDS/train/train_sharp_bicubic/X2"]),
        (2, 128, ["data/REDS/val_sharp_bicubic/X2", "data/REDS/val/val_sharp_bicubic/X2"]),
    ]
    assert cfg.val_dataloader.dataset.scale == 2
    assert [loader.dataset.scale for loader in cfg.test_dataloader] == [2, 2, 2, 2]
    assert cfg.test_dataloader[2].dataset.lq_root == "data/Vid4/BIx2"
    assert cfg.model.generator.spynet_pretrained == "spynet"


def test_trained_weights_give_all_but_the_upsampling() -> None:
    cfg = read("basicvsr_my_clips", 3)
    assert cfg.model.generator.init_cfg == dict(type="WarmStart", checkpoint="basicvsr_reds4")
    assert cfg.model.generator.spynet_pretrained is None
    assert cfg.train_dataloader.dataset.gt_size == 192


def test_the_upsampling_is_not_frozen_any_more() -> None:
    frozen = read("iconvsr_small_clips_from_basicvsr", 2).model.frozen
    assert frozen == [f"generator.{name}" for name in ("spynet", "backward_resblocks", "forward_resblocks", "fusion")]


def test_there_and_back_is_the_experiment_itself() -> None:
    cfg, plain = read("basicvsr_vimeo90k_bd", 8), read_experiment(CONFIGS / "basicvsr_vimeo90k_bd.py")
    set_scale(cfg, 4)
    for kind in ("train", "val"):
        there, here = (c[f"{kind}_dataloader"].dataset for c in (cfg, plain))
        assert {key: value for key, value in there.items() if key != "scale"} == dict(here)


def test_the_scale_of_the_config_changes_nothing() -> None:
    assert read("basicvsr_reds", 4).to_dict() == read_experiment(CONFIGS / "basicvsr_reds.py").to_dict()


@pytest.mark.parametrize("scale", [1, 5])
def test_a_scale_that_does_not_exist(scale: int) -> None:
    with pytest.raises(VSRError, match=f"scale {scale}: no such scale; choose one of 2, 3, 4, 8"):
        read("basicvsr_reds", scale)


def test_a_network_of_another_scale_than_its_data(tmp_path: Path) -> None:
    options = dict(config=CONFIGS / "basicvsr_reds.py", work_dir=None, launcher=None, cfg_options=None)
    assert read_config(Namespace(**options)).work_dir == "work_dirs/basicvsr_reds"
    # The config's own scale makes no other run of it.
    assert read_config(Namespace(**options, scale=4)).work_dir == "work_dirs/basicvsr_reds"
    assert read_config(Namespace(**options, scale=2)).work_dir == "work_dirs/basicvsr_reds_x2"
    options["cfg_options"] = {"model.generator.scale": 2}
    with pytest.raises(VSRError, match="the network is of scale 2, train_dataloader of scale 4; set neither by hand"):
        read_config(Namespace(**options))


def test_an_lr_folder_that_does_not_tell_its_scale() -> None:
    cfg = read_experiment(CONFIGS / "basicvsr_reds.py")
    cfg.val_dataloader.dataset.lq_root = "data/small"
    with pytest.raises(VSRError, match="lq_root data/small: its name does not end with x4"):
        set_scale(cfg, 2)


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("name", ["basicvsr_reds", "iconvsr_vimeo90k_bi", "basicvsr_vimeo90k_bd"])
def test_it_trains_and_validates(name: str, scale: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_sets(tmp_path)
    monkeypatch.chdir(tmp_path)
    cfg = shrink(name, tmp_path / "run")
    for dataset in cfg.train_dataloader.dataset.get("datasets", [cfg.train_dataloader.dataset]):
        dataset.gt_size = 40  # of scale 4: 10 at LR
    set_scale(cfg, scale)
    runner = build_runner(cfg)
    runner.train()
    assert runner.iter == 2
    sample = runner.train_dataloader.dataset[0]
    assert sample["inputs"].shape[-2:] == (10, 10)
    assert sample["data_samples"].gt_img.shape[-2:] == (10 * scale, 10 * scale)
    (best,) = (tmp_path / "run").glob("best_*.pth")
    weights = torch.load(best, weights_only=True)["state_dict"]
    assert weights["generator.upsample1.upsample_conv.weight"].size(0) == 64 * scale**2
