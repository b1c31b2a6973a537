"""Weights on the way that mmengine and MMagic load them: into the whole model, from a file or a published name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

from vsr_plugin.errors import WeightsError
from vsr_plugin.registry import MODELS
from vsr_plugin.weights import PUBLISHED, read_checkpoint

Layout = Callable[[dict[str, Tensor]], dict]


def build(kind: str = "BasicVSRNet") -> nn.Module:
    generator = dict(type=kind, mid_channels=8, num_blocks=1)
    return MODELS.build(dict(type="VideoRestorer", generator=generator, pixel_loss=dict(type="CharbonnierLoss")))


@pytest.mark.parametrize("kind", ["BasicVSRNet", "IconVSRNet"])
def test_mmengine_loads_every_layout(kind: str, layout: Layout, tmp_path: Path) -> None:
    trained, model = build(kind).generator, build(kind)
    torch.save(layout(trained.state_dict()), tmp_path / "weights.pth")
    load_checkpoint(model, str(tmp_path / "weights.pth"))
    for key, tensor in trained.state_dict().items():
        assert torch.equal(model.generator.state_dict()[key], tensor), key


def test_pytorch_loads_foreign_layouts_strictly(basicsr_layout: Layout) -> None:
    trained, model = build(), build()
    checkpoint = basicsr_layout(trained.generator.state_dict())
    del checkpoint["params"]["spynet.mean"]
    model.load_state_dict(checkpoint)
    assert torch.equal(model.generator.conv_last.weight, trained.generator.conv_last.weight)
    # What was given is not changed.
    assert list(checkpoint) == ["params"]


def test_a_state_dict_goes_there_and_back() -> None:
    trained, model = build(), build()
    result = model.load_state_dict(trained.state_dict())
    assert not result.missing_keys
    assert not result.unexpected_keys
    assert all(torch.equal(tensor, trained.state_dict()[key]) for key, tensor in model.state_dict().items())


def test_the_loss_keeps_its_own_tensors() -> None:
    trained, model = build(), build()
    for each, value in ((trained, 3.0), (model, 0.0)):
        each.pixel_loss.register_buffer("scale", torch.tensor(value))
    model.load_state_dict(trained.state_dict())
    assert model.pixel_loss.scale == 3


def test_weights_that_do_not_fit_are_refused_where_mmengine_would_only_warn(tmp_path: Path) -> None:
    torch.save(build("BasicVSRNet").state_dict(), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"the checkpoint: does not fit IconVSRNet: tensors \d+ missing \(edvr"):
        load_checkpoint(build("IconVSRNet"), str(tmp_path / "other.pth"))


def test_mmengine_takes_published_names(official: tuple[str, Path]) -> None:
    name, path = official
    generator = dict(type="BasicVSRNet", mid_channels=64, num_blocks=30)
    model = MODELS.build(dict(type="VideoRestorer", generator=generator, pixel_loss=dict(type="CharbonnierLoss")))
    load_checkpoint(model, name)
    assert torch.equal(model.generator.conv_last.weight, read_checkpoint(path)["params"]["conv_last.weight"])


def test_a_file_whose_name_begins_as_a_published_one_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, model = build(), build()
    monkeypatch.chdir(tmp_path)
    name = f"{next(iter(PUBLISHED))}_mine.pth"
    torch.save(trained.state_dict(), name)
    load_checkpoint(model, name)
    assert torch.equal(model.generator.conv_last.weight, trained.generator.conv_last.weight)
