"""Every experiment in configs/ builds, trains two steps and validates, on data of its layout made on the spot."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from vsr_plugin.engine.launching import PRESETS, build_runner, read_config
from vsr_plugin.models import BasicVSRNet, IconVSRNet

CONFIGS = Path(__file__).parents[1] / "configs"
EXPERIMENTS = sorted(path.stem for path in CONFIGS.glob("*.py"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all sets under `data/`, and the small clips, packed, the smallest possible."""
    root = tmp_path_factory.mktemp("sets")
    rng = np.random.default_rng(0)

    def clip(name: str, frames: int, side: int = 32) -> None:
        path = root / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rng.integers(0, 256, (frames, side, side, 3), np.uint8))

    for name in ("000", "011", "015", "020", "001"):
        clip(f"data/REDS/train_sharp/{name}", 15)
    for name in ("000", "001", "006", "017", "002"):
        clip(f"data/REDS/val_sharp/{name}", 15 if name == "002" else 2)
    for name in ("00001/0001", "00001/0002"):
        clip(f"data/vimeo90k/sequences/{name}", 7)
    (root / "data/vimeo90k/sep_trainlist.txt").write_text("00001/0001\n")
    (root / "data/vimeo90k/sep_testlist.txt").write_text("00001/0002\n")
    for name in ("Vid4/GT/city", "UDM10/GT/000", "my_clips/val/a"):
        clip(f"data/{name}", 2)
    clip("data/my_clips/train/b", 15)
    clip("work_dirs/train_demo/data/packed/GT/bikes", 5, 96)
    clip("work_dirs/train_demo/data/packed/GT/carphone_pristine", 2)
    (root / "work_dirs/train_demo/data/train.txt").write_text("bikes\n")
    (root / "work_dirs/train_demo/data/test.txt").write_text("carphone_pristine\n")
    return root


def small(name: str, work_dir: Path) -> Config:
    """The experiment with a small network from random weights, small crops, and two steps."""
    cfg = Config.fromfile(CONFIGS / f"{name}.py")
    cfg.work_dir, cfg.launcher, cfg.log_level = str(work_dir), "none", "ERROR"
    cfg.experiment_name = f"{name}-{work_dir.name}"
    generator = dict(mid_channels=8, num_blocks=1, init_cfg=None, spynet_pretrained=None)
    if cfg.model.generator.type == "IconVSRNet":
        generator["edvr_pretrained"] = None
    cfg.merge_from_dict(dict(model=dict(generator=generator), train_cfg=dict(max_iters=2, val_interval=2)))
    cfg.train_dataloader.update(batch_size=1, num_workers=0, persistent_workers=False, pin_memory=False)
    cfg.val_dataloader.num_workers = 0
    for dataset in cfg.train_dataloader.dataset.get("datasets", [cfg.train_dataloader.dataset]):
        dataset.gt_size = 32
    return cfg


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_trains_two_steps_and_validates(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    runner = build_runner(small(name, tmp_path))
    before = {key: tensor.clone() for key, tensor in runner.model.state_dict().items()}
    runner.train()
    assert runner.iter == 2
    saved = torch.load(tmp_path / "iter_2.pth", weights_only=True)
    assert {int(state["step"]) for state in saved["optimizer"]["state"].values()} == {2}
    assert any(not torch.equal(tensor, before[key]) for key, tensor in runner.model.state_dict().items())
    # 15 frames, or 7 mirrored to 14.
    sample = runner.train_dataloader.dataset[0]
    assert len(sample["inputs"]) == (14 if "vimeo" in name else 5 if "small" in name else 15)
    (best,) = tmp_path.glob("best_*.pth")
    assert "PSNR" in best.name


PAPER = [name for name in EXPERIMENTS if name.endswith(("_reds", "_bi", "_bd"))]


@pytest.mark.parametrize("name", PAPER)
def test_the_recipe_is_the_papers(name: str) -> None:
    cfg = Config.fromfile(CONFIGS / f"{name}.py")
    icon = name.startswith("iconvsr")
    assert cfg.optim_wrapper.optimizer == dict(type="Adam", lr=2e-4, betas=(0.9, 0.99))
    rates = {part: 2e-4 * mult for part, mult in cfg.optim_wrapper.paramwise_cfg.lr_mults.items()}
    assert rates == pytest.approx({"generator.spynet": 2.5e-5, **({"generator.edvr": 1e-4} if icon else {})})
    (freeze,) = cfg.custom_hooks
    assert (freeze.steps, set(freeze.modules)) == (5000, set(rates))
    assert cfg.train_cfg.max_iters == cfg.param_scheduler.T_max == 300_000
    assert cfg.param_scheduler.type == "CosineAnnealingLR"
    assert cfg.total_batch_size == cfg.train_dataloader.batch_size == 8
    assert cfg.model.pixel_loss.type == "CharbonnierLoss"
    assert cfg.model.generator.spynet_pretrained == "spynet"
    degradation = "BD" if name.endswith("bd") else "BI"
    for dataset in cfg.train_dataloader.dataset.get("datasets", [cfg.train_dataloader.dataset]):
        assert (dataset.gt_size, dataset.degradation) == (256, degradation)
        assert dataset.num_input_frames == (7 if "vimeo" in name else 15)
    assert {loader.dataset.degradation for loader in cfg.test_dataloader} == {degradation}
    protocols = {e.dataset: (e.channel, e.get("frames", "all")) for e in cfg.test_evaluator}
    assert protocols == {
        "REDS4": ("RGB", "all"), "Vimeo-90K-T": ("Y", "centre"), "Vid4": ("Y", "all"), "UDM10": ("Y", "all")
    }  # fmt: skip
    assert cfg.val_evaluator.dataset == ("Vid4" if "vimeo" in name else "REDSval4")
    if icon:
        vimeo = "vimeo" in name
        assert cfg.model.generator.padding == (3 if vimeo else 2)
        assert cfg.model.generator.edvr_pretrained == ("edvrm_vimeo90k" if vimeo else "edvrm_reds")
        assert cfg.model.generator.keyframe_stride == 5


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.py")))
@pytest.mark.parametrize("name", ["basicvsr_reds", "iconvsr_vimeo90k_bd"])
def test_presets_change_how_a_step_is_computed_and_nothing_else(name: str, preset: str) -> None:
    def read(preset: str | None) -> Config:
        arguments = dict(work_dir=None, cfg_options=None, launcher=None)
        return read_config(argparse.Namespace(config=CONFIGS / f"{name}.py", preset=preset, **arguments))

    plain, fitted = read(None), read(preset)
    assert fitted.total_batch_size == plain.total_batch_size
    assert 8 % fitted.train_cfg.micro_batch_size == 0
    assert fitted.optim_wrapper.precision == "bf16"
    for cfg in (plain, fitted):
        cfg.train_cfg.pop("micro_batch_size", None)
        cfg.optim_wrapper.pop("precision", None)
        cfg.model.generator.pop("with_cp", None)
    assert plain.to_dict() == fitted.to_dict()


def test_the_published_sizes() -> None:
    for name, net_class, millions in (("basicvsr_reds", BasicVSRNet, 6.291311), ("iconvsr_reds", IconVSRNet, 8.694991)):
        generator = Config.fromfile(CONFIGS / f"{name}.py").model.generator.to_dict()
        generator.pop("type")
        net = net_class(**generator)
        assert sum(parameter.numel() for parameter in net.parameters()) == round(millions * 1e6)
