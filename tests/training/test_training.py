import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor

from vsr_plugin.acceleration import training_path
from vsr_plugin.acceleration.cpu.kernels import jit, self_test
from vsr_plugin.errors import TrainingError, VSRError
from vsr_plugin.models.spynet import SPyNet
from vsr_plugin.training import StepTrainLoop
from vsr_plugin.training.launching import build_runner


def train(cfg: Config, name: str) -> Runner:
    cfg.experiment_name = name
    runner = build_runner(cfg)
    runner.train()
    return runner


def weights(runner: Runner) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in runner.model.state_dict().items()}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


def logged(runner: Runner, key: str) -> list[float]:
    lines = Path(runner._log_dir, "vis_data", "scalars.json").read_text().splitlines()
    return [entry[key] for entry in map(json.loads, lines) if key in entry]


def test_one_loop_iteration_is_one_step_whatever_the_micro_batch(experiment: Callable[..., Config]) -> None:
    # Not Adam, whose steps hang on the signs of the smallest gradients.
    def with_sgd(**changes: int) -> Config:
        cfg = experiment(**{"train_cfg.max_iters": 3, **changes})
        cfg.optim_wrapper.optimizer = dict(type="SGD", lr=0.1, momentum=0.9)
        return cfg

    whole = train(with_sgd(), "whole")
    parts = train(with_sgd(**{"train_cfg.micro_batch_size": 1}), "parts")
    assert parts.iter == 3
    assert logged(parts, "loss") == pytest.approx(logged(whole, "loss"), rel=1e-5)
    for (name, a), b in zip(whole.model.named_parameters(), parts.model.parameters(), strict=True):
        # Biases of a few 1e-5 are sums of terms that cancel; how these are rounded hangs on processor and threads.
        torch.testing.assert_close(b, a, rtol=1e-4, atol=5e-7, msg=name)


def test_a_micro_batch_that_does_not_divide_the_batch(experiment: Callable[..., Config]) -> None:
    with pytest.raises(VSRError, match="micro_batch_size 3 does not divide the batch of 2"):
        train(experiment(**{"train_cfg.micro_batch_size": 3}), "odd")


def test_steps_are_not_accumulated_by_mmengines_setting(experiment: Callable[..., Config]) -> None:
    with pytest.raises(VSRError, match=r"accumulative_counts=4: an iteration is one step .* set .*micro_batch_size"):
        train(experiment(**{"optim_wrapper.accumulative_counts": 4}), "accumulated")


def test_no_micro_batch_is_not_the_whole_batch(experiment: Callable[..., Config]) -> None:
    with pytest.raises(VSRError, match="micro_batch_size 0: use a whole number from 1 on"):
        train(experiment(**{"train_cfg.micro_batch_size": 0}), "none")


def test_an_error_of_the_training_itself_is_not_taken_for_one_of_the_config(
    experiment: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(loop: StepTrainLoop, batch: dict) -> None:
        raise TypeError("a mistake in a program")

    monkeypatch.setattr(StepTrainLoop, "run_iter", fail)
    with pytest.raises(TypeError, match="a mistake in a program"):
        train(experiment(), "mistake")


@pytest.mark.skipif(jit.host()[0] is None, reason=f"no CPU kernels: {jit.host()[1]}")
def test_a_run_by_kernels_resumes_to_the_same_bits(
    experiment: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(self_test, "_WORTH_TRAINING", 0)
    changes = {
        "model.generator.mid_channels": 32,
        "default_hooks.checkpoint.interval": 2,
        "train_cfg.max_iters": 4,
    }
    straight = train(experiment(**changes), "straight-kernels")
    resumed = experiment(**changes, load_from=str(tmp_path / "run" / "iter_2.pth"), resume=True)
    resumed.work_dir = str(tmp_path / "resumed")
    again = train(resumed, "resumed-kernels")
    assert_same(weights(again), weights(straight))
    assert training_path(again.model.generator).startswith("kernels of our own")
    by_pytorch = train(
        experiment(**changes, work_dir=str(tmp_path / "plain"), **{"model.accelerate": False}), "without-kernels"
    )
    assert logged(straight, "loss") == pytest.approx(logged(by_pytorch, "loss"), rel=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_resumed_run_is_the_identical_run(experiment: Callable[..., Config], precision: str, tmp_path: Path) -> None:
    frozen = dict(type="FreezeModules", modules=["generator.spynet"], steps=3)
    changes = {
        "custom_hooks": [frozen, dict(type="EMAHook", ema_type="ExponentialMovingAverage", momentum=0.1)],
        "optim_wrapper.precision": precision,
        "default_hooks.checkpoint.interval": 2,
        "train_cfg.max_iters": 4,
    }
    straight = train(experiment(**changes), f"straight-{precision}")
    resumed = experiment(**changes, load_from=str(tmp_path / "run" / "iter_2.pth"), resume=True)
    resumed.randomness.seed = 77  # that of the checkpoint counts
    resumed.work_dir = str(tmp_path / "resumed")
    again = train(resumed, f"resumed-{precision}")
    assert_same(weights(again), weights(straight))
    ema = [torch.load(tmp_path / run / "iter_4.pth", weights_only=True) for run in ("run", "resumed")]
    assert_same(*(checkpoint["ema_state_dict"] for checkpoint in ema))
    assert_same(*(checkpoint["state_dict"] for checkpoint in ema))
    assert ema[0]["optimizer_steps"] == 4 - straight.optim_wrapper.skipped_steps
    assert logged(again, "loss") == logged(straight, "loss")[2:]


def test_frozen_parts_do_not_move_until_their_step_and_rates_are_the_papers(
    experiment: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = dict(type="IconVSRNet", mid_channels=4, num_blocks=1, spynet_width=4, keyframe_stride=2, padding=1)
    cfg = experiment(**{"train_cfg.max_iters": 6})
    cfg.model.generator = generator
    cfg.optim_wrapper.paramwise_cfg.lr_mults = {"generator.spynet": 0.125, "generator.edvr": 0.5}
    modules = ["generator.spynet", "generator.edvr"]
    cfg.custom_hooks = [dict(type="FreezeModules", modules=modules, steps=4)]
    cfg.param_scheduler = dict(type="CosineAnnealingLR", by_epoch=False, T_max=300_000, eta_min=1e-7)
    runner = build_runner(cfg)
    seen: list[dict[str, Tensor]] = []
    rates: list[dict[str, float]] = []
    differentiated: list[bool] = []

    def estimate(net: SPyNet, lrs: Tensor) -> tuple[Tensor, Tensor]:
        flows = neighbour_flows(net, lrs)
        differentiated.append(flows[0].requires_grad)
        return flows

    neighbour_flows = SPyNet.neighbour_flows
    monkeypatch.setattr(SPyNet, "neighbour_flows", estimate)

    def look(loop: StepTrainLoop, batch: dict) -> None:
        seen.append(weights(runner))
        groups = runner.optim_wrapper.optimizer.param_groups
        rates.append({group["name"]: group["lr"] for group in groups})
        run_iter(loop, batch)

    run_iter = StepTrainLoop.run_iter
    monkeypatch.setattr(StepTrainLoop, "run_iter", look)
    runner.train()
    before, *seen = *seen, weights(runner)
    parts = [key for key, _ in runner.model.named_parameters() if key.startswith(tuple(modules))]
    assert any("edvr" in key for key in parts)
    for key in parts:
        assert all(torch.equal(step[key], before[key]) for step in seen[:4]), key
    moved = [sum(not torch.equal(step[key], before[key]) for key in parts) for step in seen]
    assert moved[:4] == [0] * 4
    # Behind a saturated layer there may be no gradient; most move at once.
    assert moved[4] > 0.8 * len(parts)
    for rate in (rates[0], rates[5]):
        assert rate["everything else"] == pytest.approx(2e-4, rel=1e-6)
        assert rate["generator.edvr"] == pytest.approx(1e-4, rel=1e-6)
        assert rate["generator.spynet"] == pytest.approx(2.5e-5, rel=1e-6)
    never_stepped = [p for n, p in runner.model.named_parameters() if p not in runner.optim_wrapper.optimizer.state]
    assert not never_stepped
    assert differentiated == [False] * 4 + [True] * 2
    assert all(parameter.requires_grad for parameter in runner.model.parameters())


def test_freezing_leaves_what_the_user_froze_for_good(experiment: Callable[..., Config]) -> None:
    hook = dict(type="FreezeModules", modules=["generator.spynet"], steps=1)
    runner = build_runner(experiment(**{"custom_hooks": [hook], "train_cfg.max_iters": 3}))
    kept = runner.model.generator.spynet.basic_module[0]
    kept.requires_grad_(False)
    before = {key: tensor.clone() for key, tensor in kept.state_dict().items()}
    runner.train()
    assert not any(parameter.requires_grad for parameter in kept.parameters())
    assert_same(kept.state_dict(), before)


def test_unknown_names_of_parts_are_refused(experiment: Callable[..., Config]) -> None:
    hook = dict(type="FreezeModules", modules=["generator.flownet"], steps=1)
    with pytest.raises(VSRError, match=r"no module 'generator.flownet'"):
        train(experiment(custom_hooks=[hook]), "unknown-module")
    cfg = experiment()
    cfg.optim_wrapper.paramwise_cfg.lr_mults = {"generator.edvr": 0.5}
    with pytest.raises(VSRError, match=r"nothing to train under 'generator.edvr'"):
        train(cfg, "unknown-part")


def test_a_step_with_a_gradient_that_is_not_finite_is_skipped_and_counted(experiment: Callable[..., Config]) -> None:
    cfg = experiment(**{"train_dataloader.dataset.broken": (3,), "train_cfg.max_iters": 5})
    runner = train(cfg, "one-bad-sample")
    # Five clips in batches of two: the bad one comes once in every two and a half batches.
    assert runner.optim_wrapper.skipped_steps in (2, 3)
    assert all(torch.isfinite(parameter).all() for parameter in runner.model.parameters())
    steps = {int(state["step"]) for state in runner.optim_wrapper.optimizer.state.values()}
    assert steps == {5 - runner.optim_wrapper.skipped_steps}


def test_a_run_that_only_skips_stops_and_names_the_sample(experiment: Callable[..., Config]) -> None:
    cfg = experiment(**{"train_dataloader.dataset.length": 1, "train_dataloader.dataset.broken": (0,)})
    cfg.merge_from_dict({"default_hooks.guard.patience": 3, "train_cfg.max_iters": 50})
    with pytest.raises(TrainingError, match=r"stopped at step 3: 3 steps in a row.*clip0, frames \[0, 1, 2\]"):
        train(cfg, "bad-only")


def test_an_impossible_precision(experiment: Callable[..., Config]) -> None:
    with pytest.raises(VSRError, match="precision 'fp8' does not exist"):
        train(experiment(**{"optim_wrapper.precision": "fp8"}), "fp8")
