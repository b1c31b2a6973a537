"""The scope ``vsr_plugin`` among mmengine's registries."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope

import vsr_plugin.models
from vsr_plugin import registry


@pytest.fixture
def in_scope():
    """mmengine's default scope set to ours."""
    with DefaultScope.overwrite_default_scope("vsr_plugin"):
        yield


def test_every_registry_is_a_child_of_mmagics() -> None:
    for name in registry.__all__:
        ours = getattr(registry, name)
        assert (ours.scope, ours.parent.scope) == ("vsr_plugin", "mmagic"), name
        assert ours.parent.children["vsr_plugin"] is ours


def test_configs_of_the_installed_package_are_called_by_scope(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "vsr_plugin" / ".mim").mkdir(parents=True)
    for name in ("configs", "model-index.yml"):
        (tmp_path / "vsr_plugin" / ".mim" / name).symlink_to(Path(__file__).parents[1] / name)
    # These two of mmengine's need pkg_resources, which the newest setuptools do not have.
    monkeypatch.setattr("mmengine.config.config.is_installed", lambda package: True)
    monkeypatch.setattr("mmengine.config.config.get_installed_path", lambda package: str(tmp_path / package))
    (tmp_path / "mine.py").write_text('_base_ = "vsr_plugin::studies/coupled.py"\ntotal_batch_size = 3\n')
    cfg = Config.fromfile(tmp_path / "mine.py")
    assert (cfg.model.generator.propagation, cfg.total_batch_size) == ("coupled", 3)
    assert cfg.model.generator.type == "BasicVSRNet"


def test_same_name_lives_in_both_scopes() -> None:
    ours, theirs = registry.MODELS.get("BasicVSRNet"), registry.MODELS.get("mmagic.BasicVSRNet")
    assert ours is vsr_plugin.models.BasicVSRNet
    assert theirs.__module__ == "mmagic.models.editors.basicvsr.basicvsr_net"
    assert registry.MODELS.get("vsr_plugin.BasicVSRNet") is ours
    assert registry.MODELS.parent.get("vsr_plugin.BasicVSRNet") is ours
    assert registry.MODELS.parent.get("BasicVSRNet") is theirs


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("MODELS", "CharbonnierLoss"),
        ("MODELS", "DataPreprocessor"),
        ("METRICS", "PSNR"),
        ("EVALUATORS", "Evaluator"),
        ("TRANSFORMS", "LoadImageFromFile"),
        ("DATASETS", "BasicFramesDataset"),
        ("HOOKS", "CheckpointHook"),
        ("HOOKS", "ExponentialMovingAverageHook"),
        ("LOOPS", "MultiValLoop"),
        ("OPTIM_WRAPPER_CONSTRUCTORS", "MultiOptimWrapperConstructor"),
        ("VISUALIZERS", "ConcatImageVisualizer"),
        ("WEIGHT_INITIALIZERS", "Pretrained"),
        ("PARAM_SCHEDULERS", "CosineAnnealingLR"),
        ("OPTIMIZERS", "Adam"),
    ],
)
def test_what_mmagic_and_mmengine_have_resolves_from_ours(name: str, key: str) -> None:
    assert getattr(registry, name).get(key) is not None


def test_scope_prefix_resolves() -> None:
    assert registry.METRICS.get("mmagic.PSNR") is registry.METRICS.get("PSNR")


def test_unknown_name_is_none() -> None:
    assert registry.METRICS.get("Nonsense") is None


@pytest.mark.usefixtures("in_scope")
def test_root_registry_builds_ours_under_our_default_scope() -> None:
    config = {"type": "BasicVSRNet", "mid_channels": 8, "num_blocks": 1}
    assert type(ROOT_MODELS.build(config)) is vsr_plugin.models.BasicVSRNet
    switched = ROOT_MODELS.build({**config, "_scope_": "mmagic"})
    assert type(switched).__module__.startswith("mmagic.")
    assert type(ROOT_MODELS.build({"type": "CharbonnierLoss"})).__module__.startswith("mmagic.")
