"""Every experiment in configs/ builds, trains two steps and validates, on data of its layout made on the spot."""

import argparse
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from small_experiments import CONFIGS, shrink

from vsr_plugin.models import BasicVSRNet, BasicVSRPlusPlusNet, IconVSRNet, RealBasicVSRNet
from vsr_plugin.models.adaptation import Adaptation
from vsr_plugin.models.cleaning import with_cleaning
from vsr_plugin.training.launching import PRESETS, build_runner, read_config
from vsr_plugin.weights import load_net, read_checkpoint

pytestmark = pytest.mark.usefixtures("unformatted_configs")

EXPERIMENTS = sorted(path.stem for path in CONFIGS.glob("*.py"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_trains_two_steps_and_validates(
    name: str, all_sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(all_sets)
    runner = build_runner(shrink(name, tmp_path))
    before = {key: tensor.clone() for key, tensor in runner.model.state_dict().items()}
    runner.train()
    assert runner.iter == 2
    saved = torch.load(tmp_path / "iter_2.pth", weights_only=True)
    assert {int(state["step"]) for state in saved["optimizer"]["state"].values()} == {2}
    assert any(not torch.equal(tensor, before[key]) for key, tensor in runner.model.state_dict().items())
    # 15 frames, 7 mirrored to 14, 15 mirrored to 30, or fewer.
    sample = runner.train_dataloader.dataset[0]
    lengths = dict(real=30, pp_reds=30, vimeo=14, small=5, adaptation=7, quantiser=4, footage=5)
    assert len(sample["inputs"]) == next((lengths[part] for part in lengths if part in name), 15)
    (best,) = tmp_path.glob("best_*.pth")
    assert ("step_error" if name == "footage_quantiser" else "PSNR") in best.name


PAPER = [name for name in EXPERIMENTS if name.endswith(("_reds", "_bi", "_bd")) and "real" not in name]


@pytest.mark.parametrize("name", PAPER)
def test_the_recipe_is_the_papers(name: str) -> None:
    cfg = Config.fromfile(CONFIGS / f"{name}.py")
    icon, plus = name.startswith("iconvsr"), "_pp_" in name
    lr = 1e-4 if plus else 2e-4
    assert cfg.optim_wrapper.optimizer == dict(type="Adam", lr=lr, betas=(0.9, 0.99))
    rates = {part: lr * mult for part, mult in cfg.optim_wrapper.paramwise_cfg.lr_mults.items()}
    assert rates == pytest.approx({"generator.spynet": 2.5e-5, **({"generator.edvr": 1e-4} if icon else {})})
    (freeze,) = cfg.custom_hooks
    assert (freeze.steps, set(freeze.modules)) == (5000, set(rates))
    assert cfg.train_cfg.max_iters == cfg.param_scheduler.T_max == (600_000 if "pp_reds" in name else 300_000)
    assert cfg.param_scheduler.type == "CosineAnnealingLR"
    assert cfg.total_batch_size == cfg.train_dataloader.batch_size == 8
    assert cfg.model.pixel_loss.type == "CharbonnierLoss"
    assert cfg.model.generator.spynet_pretrained == "spynet"
    degradation = "BD" if name.endswith("bd") else "BI"
    for dataset in cfg.train_dataloader.dataset.get("datasets", [cfg.train_dataloader.dataset]):
        assert (dataset.gt_size, dataset.degradation) == (256, degradation)
        assert dataset.num_input_frames == (7 if "vimeo" in name else 30 if plus else 15)
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


@pytest.mark.parametrize(("name", "gan"), [("real_basicvsr_wogan_reds", False), ("real_basicvsr_reds", True)])
def test_the_recipe_is_realbasicvsrs(name: str, gan: bool) -> None:
    cfg = Config.fromfile(CONFIGS / f"{name}.py")
    assert cfg.optim_wrapper.optimizer == dict(type="Adam", lr=5e-5 if gan else 1e-4, betas=(0.9, 0.99))
    assert cfg.optim_wrapper.paramwise_cfg.get("lr_mults", {}) == ({"discriminator": 2.0} if gan else {})
    assert cfg.param_scheduler is None
    assert cfg.train_cfg.max_iters == (150_000 if gan else 300_000)
    assert cfg.total_batch_size == cfg.train_dataloader.batch_size == (8 if gan else 16)
    (ema,) = cfg.custom_hooks
    assert (ema.module_keys, ema.interval, ema.interp_cfg.momentum) == ("generator_ema", 1, 0.001)
    for dataset in cfg.train_dataloader.dataset.datasets:
        assert (dataset.gt_size, dataset.num_input_frames, dataset.degradation) == (256, 15, "pipeline")
        types = [transform.type for transform in dataset.pipeline]
        assert types[3:] == ["SharpenTruth", "MirrorSequence", "DegradeFootage", "PackInputs"]
    model = cfg.model
    for loss in (model.pixel_loss, model.cleaning_loss):
        assert loss == dict(type="L1Loss", loss_weight=1.0, reduction="mean")
    assert gan == ("gan_loss" in model) == ("discriminator" in model) == ("perceptual_loss" in model)
    if gan:
        assert (model.gan_loss.gan_type, model.gan_loss.loss_weight) == ("vanilla", 0.05)
        assert model.perceptual_loss.layer_weights == {"2": 0.1, "7": 0.1, "16": 1.0, "25": 1.0, "34": 1.0}
    generator = model.generator.to_dict()
    generator.pop("type")
    assert sum(parameter.numel() for parameter in RealBasicVSRNet(**generator).parameters()) == 6_294_834


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.py")))
@pytest.mark.parametrize("name", ["basicvsr_reds", "iconvsr_vimeo90k_bd", "basicvsr_pp_reds"])
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
    for name, net_class, millions in (
        ("basicvsr_reds", BasicVSRNet, 6.291311),
        ("iconvsr_reds", IconVSRNet, 8.694991),
        ("basicvsr_pp_reds", BasicVSRPlusPlusNet, 7.322927),
    ):
        generator = Config.fromfile(CONFIGS / f"{name}.py").model.generator.to_dict()
        generator.pop("type")
        net = net_class(**generator)
        assert sum(parameter.numel() for parameter in net.parameters()) == round(millions * 1e6)


def test_fine_tuning_ends_in_what_it_has_changed(
    all_sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(all_sets)
    cfg = shrink("footage_adaptation_coarse", tmp_path)
    cfg.custom_hooks = [dict(type="SaveAdaptation", origin=str(tmp_path / "origin.pth"), rank=3)]
    runner = build_runner(cfg)
    torch.save(with_cleaning(runner.model.generator, None).state_dict(), tmp_path / "origin.pth")
    origin = load_net(tmp_path / "origin.pth")
    runner.train()
    adaptation = Adaptation(read_checkpoint(tmp_path / "adaptation.safetensors"))
    assert adaptation.fits(origin)
    assert not any(name.startswith(("spynet", "cleaning")) for name in adaptation.tensors)
    assert max(tensor.shape[1] for name, tensor in adaptation.tensors.items() if name.endswith(".up")) == 3
    tuned = runner.model.generator.state_dict()["conv_last.bias"]
    adapted = adaptation.adapted(origin, 1.0).state_dict()["conv_last.bias"]
    assert not torch.equal(adapted, origin.state_dict()["conv_last.bias"])
    torch.testing.assert_close(adapted, tuned, rtol=0, atol=1e-6)
