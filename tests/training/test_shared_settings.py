"""Roots and ``max_iters``: replacing one replaces all that was made of it."""

from argparse import Namespace
from pathlib import Path

import pytest
from mmengine.config import Config
from small_experiments import CONFIGS

from vsr_plugin.errors import VSRError
from vsr_plugin.training.launching import load_config, read_config


def read(config: str | Path, **options: object) -> Config:
    path = config if isinstance(config, Path) else CONFIGS / f"{config}.py"
    arguments = dict(work_dir=None, launcher=None, cfg_options={k.replace("__", "."): v for k, v in options.items()})
    return read_config(Namespace(config=path, **arguments))


@pytest.fixture
def inherit(tmp_path):
    """Writes a config that inherits from one of this package, or from another one that was written."""

    def write(base: str | Path, *lines: str) -> Path:
        base = base if isinstance(base, Path) else CONFIGS / f"{base}.py"
        path = tmp_path / f"experiment{len(list(tmp_path.iterdir()))}.py"
        path.write_text("\n".join([f'_base_ = "{base}"', *lines]))
        return path

    return write


def folders(cfg: Config) -> set[str]:
    """Paths of all data sets of an experiment."""
    sets = [cfg.train_dataloader.dataset, cfg.val_dataloader.dataset, *(d.dataset for d in cfg.test_dataloader)]
    parts = [part for dataset in sets for part in dataset.get("datasets", [dataset])]
    given = [part[key] for part in parts for key in ("gt_root", "lq_root", "ann_file") if part.get(key)]
    return {place for places in given for place in ([places] if isinstance(places, str) else places)}


ROOTS = [
    ("basicvsr_reds", "data_root", "data/REDS", 8),
    ("iconvsr_vimeo90k_bd", "vimeo90k_root", "data/vimeo90k", 7),
    ("iconvsr_my_clips", "my_clips_root", "data/my_clips", 2),
    ("iconvsr_small_clips", "data_root", "work_dirs/train_demo/data", 3),
    ("studies/refill", "data_root", "data/REDS", 8),
    # which it only tests on
    ("basicvsr_reds", "vimeo90k_root", "data/vimeo90k", 5),
    ("basicvsr_vimeo90k_bi", "data_root", "data/REDS", 4),
    ("basicvsr_vimeo90k_bi", "vid4_root", "data/Vid4", 2),
    ("basicvsr_reds", "udm10_root", "data/UDM10", 2),
]


@pytest.mark.parametrize("by", ["option", "file", "file that inherits from it"])
@pytest.mark.parametrize(("config", "setting", "old", "number"), ROOTS)
def test_a_root_moves_all_sets_that_lie_there(inherit, config, setting, old, number, by):
    before = folders(read(config))
    # Below the old one, where a second replacement would show.
    new = f"{old}/new"
    if by == "option":
        cfg = read(config, **{setting: f"{new}/"})
    else:
        path = inherit(config, f'{setting} = "{new}"')
        cfg = read(path if by == "file" else inherit(path, "total_batch_size = 4"))
    assert folders(cfg) == {path.replace(old, new) for path in before}
    assert sum(path.startswith(f"{new}/") for path in folders(cfg)) == number


def test_a_root_of_test_sets_is_replaced_again(inherit):
    path = inherit("basicvsr_vimeo90k_bi", 'data_root = "/a"')
    assert "/a/train_sharp" in folders(read(path))
    assert "/b/train_sharp" in folders(read(path, data_root="/b"))
    # Saved and read again, nothing moves once more: of these, the one is where the other was.
    cfg = read("basicvsr_vimeo90k_bi", vid4_root="data/UDM10", udm10_root="/u")
    cfg.dump(str(saved := path.with_name("saved.py")))
    assert folders(load_config(saved)) == folders(cfg)


def test_a_root_may_lie_above_the_old_one(inherit):
    cfg = load_config(inherit("basicvsr_my_clips", 'my_clips_root = "data"'))
    assert cfg.train_dataloader.dataset.gt_root == "data/train"
    assert cfg.val_dataloader.dataset.gt_root == "data/val"


def test_paths_that_are_set_themselves_stay(inherit):
    path = inherit("basicvsr_reds", 'data_root = "/new"', 'val_dataloader = dict(dataset=dict(gt_root="/other"))')
    assert load_config(path).val_dataloader.dataset.gt_root == "/other"
    cfg = read("basicvsr_reds", data_root="/new", val_dataloader__dataset__gt_root="/other")
    assert (cfg.val_dataloader.dataset.gt_root, cfg.val_dataloader.dataset.lq_root) == (
        "/other",
        ["/new/val_sharp_bicubic/X4", "/new/val/val_sharp_bicubic/X4"],
    )


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        ("basicvsr_my_clips", dict(data_root="/x"), "data_root=/x: .* nothing from a data_root; set my_clips_root"),
        ("basicvsr_small_clips", dict(my_clips_root="/x"), r"my_clips_root=/x: .*; set data_root \(work_dirs/train_d"),
        ("basicvsr_reds", dict(data_root=3), "data_root=3: must be the path of a folder"),
        ("basicvsr_reds", dict(max_iters="many"), "max_iters=many: must be a number of steps, from 1 on"),
    ],
)
def test_settings_that_cannot_be_followed_are_one_line(config, options, message):
    with pytest.raises(VSRError, match=f"^{message}") as caught:
        read(config, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("by", ["option", "file", "file that inherits from it"])
@pytest.mark.parametrize("config", ["basicvsr_my_clips", "iconvsr_reds", "basicvsr_small_clips"])
def test_max_iters_sets_the_schedule_too(inherit, config, by, capsys):
    if by == "option":
        cfg = read(config, max_iters=700)
    else:
        path = inherit(config, "max_iters = 700")
        cfg = read(path if by == "file" else inherit(path, "total_batch_size = 4"))
    *warmup, cosine = cfg.param_scheduler if isinstance(cfg.param_scheduler, list) else [cfg.param_scheduler]
    assert (cfg.train_cfg.max_iters, cosine.T_max) == (700, 700)
    assert [scheduler.end for scheduler in warmup] == ([20] if "small" in config else [])
    assert capsys.readouterr().err == ""


def test_steps_that_a_file_sets_itself_stay(inherit):
    path = inherit("basicvsr_my_clips", "train_cfg = dict(max_iters=500)")
    assert load_config(path).train_cfg.max_iters == 500
    assert load_config(inherit(path, "total_batch_size = 4")).train_cfg.max_iters == 500


def test_a_schedule_that_does_not_follow_is_warned_of(capsys):
    read("basicvsr_my_clips", train_cfg__max_iters=1000)
    line = capsys.readouterr().err
    assert line.startswith("warning: train_cfg.max_iters=1000 leaves param_scheduler.T_max=30000, so")
    assert line.endswith("--cfg-options max_iters=1000 sets both\n")
    read("basicvsr_my_clips", train_cfg__max_iters=1000, param_scheduler__T_max=1000)
    assert capsys.readouterr().err == ""
