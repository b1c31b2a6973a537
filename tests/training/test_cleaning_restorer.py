"""RealBasicVSR's two stages: losses as MMagic's model has them, averages, resuming, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmagic.structures import DataSample
from mmengine.config import Config
from mmengine.model import BaseDataPreprocessor
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from small_vgg import save_vgg
from torch import Tensor, nn

from vsr_plugin.errors import VSRError, WeightsError
from vsr_plugin.inference import restore_frames
from vsr_plugin.mmagic_host import import_quietly
from vsr_plugin.models import RealBasicVSRNet
from vsr_plugin.ops.resize import bicubic_downsample
from vsr_plugin.registry import MODELS
from vsr_plugin.training import CleaningRestorer, PartsConstructor
from vsr_plugin.training.launching import build_runner
from vsr_plugin.weights import load_net

NET = dict(mid_channels=8, num_propagation_blocks=2, num_cleaning_blocks=2)
TINY = dict(type="RealBasicVSRNet", mid_channels=4, num_propagation_blocks=1, num_cleaning_blocks=1, spynet_width=4)
L1 = dict(type="L1Loss", loss_weight=1.0, reduction="mean")
STAGE_1 = dict(pixel_loss=L1, cleaning_loss=L1)
STAGE_2 = dict(
    STAGE_1,
    gan_loss=dict(type="GANLoss", gan_type="vanilla", loss_weight=5e-2, real_label_val=1.0, fake_label_val=0),
    discriminator=dict(type="UNetDiscriminatorWithSpectralNorm", in_channels=3, mid_channels=4),
)


class AsItIs(BaseDataPreprocessor):
    def forward(self, data: dict, training: bool = False) -> dict:
        return data


@pytest.fixture
def batches(crops: Callable[..., Iterator[np.ndarray]]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return LR, sharpened and plain ground truth in [0, 1] for every step, crops of a real clip."""
    rng = np.random.default_rng(0)
    made = []
    for gts in crops(rng, 10):
        lrs = bicubic_downsample(gts).astype(float)
        sharp = np.clip(1.2 * gts.astype(float) - 20, 0, 255)
        three = (lrs + rng.normal(0, 8, lrs.shape), sharp, gts)
        made.append(tuple(torch.from_numpy(np.float32(frames)).permute(0, 1, 4, 2, 3) / 255 for frames in three))
    return made


# Adam divides by the size of a gradient, so in float32 differences in the last bit grow with the steps.
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
@pytest.mark.parametrize("stage", [STAGE_1, STAGE_2], ids=["stage 1", "stage 2"])
def test_losses_equal_mmagics_step_by_step(
    batches: list[tuple[Tensor, Tensor, Tensor]], stage: dict, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    ours = MODELS.build(dict(type="CleaningRestorer", generator=dict(type="RealBasicVSRNet", **NET), **stage))
    theirs = import_quietly("mmagic.models.editors.real_basicvsr.real_basicvsr").RealBasicVSR(
        generator=dict(type="mmagic.RealBasicVSRNet", **NET),
        **stage,
        is_use_sharpened_gt_in_pixel=True,
        is_use_ema=True,
        data_preprocessor=AsItIs(),
    )
    parts = ["generator"] if stage is STAGE_1 else ["generator", "discriminator"]
    for part in parts:
        getattr(theirs, part).load_state_dict(getattr(ours, part).state_dict())
    ours, theirs = ours.to(dtype), theirs.to(dtype)
    adam = dict(type="Adam", lr=5e-5, betas=(0.9, 0.99))
    our_wrapper = PartsConstructor(
        dict(type="GuardedOptimWrapper", optimizer=adam), dict(lr_mults=dict.fromkeys(parts[1:], 2.0))
    )(ours)
    their_wrapper = OptimWrapperDict(
        **{
            part: OptimWrapper(torch.optim.Adam(getattr(theirs, part).parameters(), lr=lr, betas=(0.9, 0.99)))
            for part, lr in zip(parts, (5e-5, 1e-4), strict=False)
        }
    )
    # In float64, where a step takes several times as long, a difference shows in the first ones.
    for lrs, sharp, plain in batches if dtype == torch.float32 else batches[:4]:
        lrs, sharp, plain = lrs.to(dtype), sharp.to(dtype), plain.to(dtype)
        found = ours(lrs, mode="loss", gts=sharp, plain_gts=plain)
        our_wrapper.update_params(ours.parse_losses(found)[0])
        data = dict(inputs=lrs.clone(), data_samples=DataSample(gt_img=plain, gt_unsharp=255 * sharp))
        expected = theirs.train_step(data, their_wrapper)
        assert found.keys() == expected.keys()
        for name, loss in found.items():
            assert loss.item() == pytest.approx(expected[name].item(), rel=tolerance), name
    if dtype == torch.float64:
        for part in parts:
            for key, tensor in getattr(theirs, part).state_dict().items():
                torch.testing.assert_close(getattr(ours, part).state_dict()[key], tensor, rtol=1e-7, atol=1e-9)


def test_the_losses_in_words(tmp_path: Path) -> None:
    torch.manual_seed(0)
    perceptual = dict(type="PerceptualLoss", weights=str(save_vgg(tmp_path)))
    model = CleaningRestorer(TINY, **STAGE_2, perceptual_loss=perceptual)
    lrs, sharp, plain = torch.rand(2, 2, 3, 8, 8), torch.rand(2, 2, 3, 32, 32), torch.rand(2, 2, 3, 32, 32)
    losses = model.eval()(lrs, mode="loss", gts=sharp, plain_gts=plain)
    restored, cleaned = model.generator(lrs, return_lqs=True)
    torch.testing.assert_close(losses["loss_pix"], (restored - sharp).abs().mean())
    small = sharp.unflatten(-1, (8, 4)).unflatten(-3, (8, 4)).mean((-1, -3))
    torch.testing.assert_close(losses["loss_clean"], (cleaned - small).abs().mean())
    features = model.perceptual_loss(restored.flatten(0, 1), sharp.flatten(0, 1))
    torch.testing.assert_close(losses["loss_perceptual"], features)
    seen, real = (model.discriminator(frames.flatten(0, 1)) for frames in (restored, plain))
    torch.testing.assert_close(losses["loss_gan"], 0.05 * nn.functional.softplus(-seen).mean())
    torch.testing.assert_close(losses["loss_d_fake"], nn.functional.softplus(seen).mean())
    torch.testing.assert_close(losses["loss_d_real"], nn.functional.softplus(-real).mean())
    # What deceives the discriminator is nothing that it learns.
    gradients = torch.autograd.grad(losses["loss_gan"], [*model.discriminator.parameters()], allow_unused=True)
    assert all(gradient is None for gradient in gradients)
    (gradient,) = torch.autograd.grad(losses["loss_d_fake"], [model.generator.conv_last.weight], allow_unused=True)
    assert gradient is None
    assert all(parameter.requires_grad for parameter in model.discriminator.parameters())


@pytest.fixture
def stage(experiment: Callable[..., Config], tmp_path: Path) -> Callable[..., Config]:
    """Return a function that makes the config of a small training of stage 1 or 2."""

    def make(number: int, **changes: object) -> Config:
        ema = dict(
            type="ExponentialMovingAverageHook", module_keys="generator_ema", interval=1,
            interp_cfg=dict(momentum=0.1),
        )  # fmt: skip
        cfg = experiment(custom_hooks=[ema], param_scheduler=None)
        model = dict(type="CleaningRestorer", generator=TINY, **(STAGE_1 if number == 1 else STAGE_2))
        if number == 2:
            model["perceptual_loss"] = dict(type="PerceptualLoss", weights=str(save_vgg(tmp_path)))
        cfg.model = model
        cfg.optim_wrapper.paramwise_cfg = dict(lr_mults=dict(discriminator=2.0) if number == 2 else {})
        cfg.param_scheduler = None
        cfg.merge_from_dict(changes)
        return cfg

    return make


def train(cfg: Config, name: str) -> Runner:
    cfg.experiment_name = name
    runner = build_runner(cfg)
    runner.train()
    return runner


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


# In float32 tests/tools/test_train_realbasicvsr.py does so with kills.
@pytest.mark.parametrize(("number", "precision"), [(1, "fp32"), (2, "bf16")])
def test_a_resumed_run_is_the_identical_run(
    stage: Callable[..., Config], number: int, precision: str, tmp_path: Path
) -> None:
    changes = {
        "optim_wrapper.precision": precision,
        "default_hooks.checkpoint.interval": 3,
        "train_cfg.max_iters": 6,
    }
    straight = train(stage(number, **changes), f"straight-{number}-{precision}")
    resumed = stage(number, **changes, load_from=str(tmp_path / "run" / "iter_3.pth"), resume=True)
    resumed.work_dir = str(tmp_path / "resumed")
    again = train(resumed, f"resumed-{number}-{precision}")
    assert_same(again.model.state_dict(), straight.model.state_dict())
    saved = [torch.load(tmp_path / run / "iter_6.pth", weights_only=True) for run in ("run", "resumed")]
    assert_same(*(checkpoint["state_dict"] for checkpoint in saved))
    state = saved[0]["state_dict"]
    prefixes = {key.partition(".")[0] for key in state}
    assert prefixes == {"generator", "generator_ema", *(["discriminator"] if number == 2 else [])}
    assert "generator.image_cleaning.0.main.0.weight" in state
    moved = [not torch.equal(state[key], state[key.replace("generator.", "generator_ema.")]) for key in state
             if key.startswith("generator.")]  # fmt: skip
    assert any(moved)
    assert straight.optim_wrapper.skipped_steps == 0
    rates = {group["lr"] for group in straight.optim_wrapper.optimizer.param_groups}
    assert rates == ({2e-4} if number == 1 else {2e-4, 4e-4})


def test_stage_2_goes_on_from_the_average_of_stage_1(stage: Callable[..., Config], tmp_path: Path) -> None:
    first = train(stage(1), "first")
    path = str(tmp_path / "run" / "iter_4.pth")
    average = first.model.generator_ema.state_dict()
    assert_same(load_net(path).state_dict(), average)
    cfg = stage(2, **{"model.generator.init_cfg": dict(type="Pretrained", checkpoint=path)})
    cfg.work_dir = str(tmp_path / "second")
    runner = build_runner(cfg)
    runner.model.init_weights()
    assert_same(runner.model.generator.state_dict(), average)
    assert_same(runner.model.generator_ema.state_dict(), average)


def test_tests_use_the_average(stage: Callable[..., Config], tmp_path: Path) -> None:
    model = train(stage(1), "average").model.eval()
    lrs = torch.randint(256, (3, 3, 8, 8), dtype=torch.uint8)
    sample = DataSample(gt_img=torch.zeros(3, 3, 32, 32, dtype=torch.uint8))
    (sample,) = model.val_step(dict(inputs=[lrs], data_samples=[sample]))
    latest, average = (
        torch.stack(list(restore_frames(net, lrs.float() / 255))).clamp(0, 1) * 255
        for net in (model.generator, model.generator_ema)
    )
    assert (sample.output.pred_img.float() - average).abs().max() < 0.502
    assert not torch.equal(latest, average)


def test_an_average_that_nothing_keeps_is_refused(stage: Callable[..., Config]) -> None:
    cfg = stage(1)
    cfg.custom_hooks = [dict(type="EMAHook", ema_type="ExponentialMovingAverage", momentum=0.1)]
    with pytest.raises(
        VSRError, match=r"no hook keeps the moving average 'generator_ema', .*ExponentialMovingAverageH"
    ):
        train(cfg, "unkept")


def test_micro_batches_and_a_moving_average_take_one_step_an_iteration(stage: Callable[..., Config]) -> None:
    runner = train(stage(2, **{"train_cfg.micro_batch_size": 1, "train_cfg.max_iters": 2}), "micro")
    steps = {int(state["step"]) for state in runner.optim_wrapper.optimizer.state.values()}
    assert steps == {2}
    spynet = {key: t for key, t in runner.model.generator.state_dict().items() if "spynet" in key}
    average = runner.model.generator_ema.state_dict()
    assert all(torch.equal(tensor, average[key]) for key, tensor in spynet.items())


def test_one_checkpoint_of_one_network_fills_both() -> None:
    model, source = CleaningRestorer(TINY, **STAGE_1), RealBasicVSRNet(4, 1, 1, spynet_width=4)
    model.load_state_dict({f"generator.{key}": tensor for key, tensor in source.state_dict().items()})
    for net in (model.generator, model.generator_ema):
        assert_same(net.state_dict(), source.state_dict())


def test_what_is_refused(tmp_path: Path, stage: Callable[..., Config]) -> None:
    basicvsr = dict(type="BasicVSRNet", mid_channels=4, num_blocks=1, spynet_width=4)
    with pytest.raises(VSRError, match="BasicVSRNet has no cleaning to be trained; take RealBasicVSRNet"):
        CleaningRestorer(basicvsr, **STAGE_1)
    CleaningRestorer(dict(basicvsr, cleaning=dict(type="footage", mid_channels=4, num_blocks=1)), **STAGE_1)
    with pytest.raises(VSRError, match="`gan_loss` and `discriminator` belong together"):
        CleaningRestorer(TINY, **STAGE_1, gan_loss=STAGE_2["gan_loss"])
    cfg = stage(2)
    cfg.model.perceptual_loss.weights = str(tmp_path / "none.pth")
    with pytest.raises(WeightsError, match=r"none\.pth: no such weights file"):
        train(cfg, "no-vgg")
