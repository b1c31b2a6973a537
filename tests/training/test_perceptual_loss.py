"""The loss on features of a VGG19, and files that are none."""

from __future__ import annotations

import urllib.error
from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_vgg import save_vgg, vgg_tensors
from torch import nn

from vsr_plugin.errors import WeightsError
from vsr_plugin.models import SPyNet
from vsr_plugin.training import PerceptualLoss
from vsr_plugin.training.losses import load_vgg19


def torchvision_layers() -> nn.Sequential:
    """The same layers written out as torchvision has them."""
    tensors = {key.removeprefix("features."): t for key, t in vgg_tensors().items() if key.startswith("features.")}
    layers: list[nn.Module] = []
    for number in range(35):
        if f"{number}.weight" in tensors:
            width, before = tensors[f"{number}.weight"].shape[:2]
            layers.append(nn.Conv2d(before, width, 3, padding=1))
        elif number in (4, 9, 18, 27):
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers.append(nn.ReLU())
    net = nn.Sequential(*layers)
    net.load_state_dict(tensors)
    return net


def test_it_is_the_weighted_difference_before_each_relu(tmp_path: Path) -> None:
    restored, gt = torch.rand(2, 2, 3, 32, 48).unbind()
    restored.requires_grad_()
    weights = {"2": 0.1, "7": 0.1, "16": 1.0, "25": 1.0, "34": 1.0}
    loss = PerceptualLoss(weights=str(save_vgg(tmp_path)), loss_weight=0.5)
    assert loss.layer_weights == weights
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    a, b = ((frames - mean.view(3, 1, 1)) / std.view(3, 1, 1) for frames in (restored, gt))
    expected = 0
    for number, layer in enumerate(torchvision_layers()):
        a, b = layer(a), layer(b)
        expected = expected + 0.5 * weights.get(str(number), 0.0) * (a - b).abs().mean()
    found = loss(restored, gt)
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found, restored)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, restored)[0])


def test_its_weights_are_no_part_of_a_model(tmp_path: Path) -> None:
    model = nn.ModuleList([PerceptualLoss(weights=str(save_vgg(tmp_path)))])
    model[0].init_weights()
    assert not model.state_dict()
    assert not list(model.parameters())


def test_half_precision_leaves_its_weights_alone(tmp_path: Path) -> None:
    loss = PerceptualLoss(weights=str(save_vgg(tmp_path)))
    restored, gt = torch.rand(2, 1, 3, 32, 32).bfloat16().unbind()
    expected = loss(restored.float(), gt.float())
    torch.testing.assert_close(loss(restored, gt), expected)
    with torch.autocast("cpu", torch.bfloat16):
        rough = loss(restored, gt)
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(expected.item(), rel=0.02)


def test_files_of_any_kind(tmp_path: Path) -> None:
    torch.save(dict(state_dict=vgg_tensors()), tmp_path / "a.pth")
    safetensors.torch.save_file(vgg_tensors(), tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        vgg = load_vgg19(tmp_path / name)
        assert torch.equal(vgg.convs["34"].weight, vgg_tensors()["features.34.weight"])
        assert not any(parameter.requires_grad for parameter in vgg.parameters())


def test_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save(SPyNet(width=4).state_dict(), path)
    with pytest.raises(WeightsError, match=r"other\.pth: no VGG19: it has no tensor features\.0\.weight; use torchv"):
        PerceptualLoss(weights=str(path)).init_weights()
    tensors = vgg_tensors()
    tensors["features.10.weight"] = tensors["features.10.weight"][:, :-1]
    torch.save(tensors, path)
    with pytest.raises(WeightsError, match=r"no VGG19: features\.10\.weight has shape \(8, 5, 3, 3\), not \(8, 6, 3"):
        PerceptualLoss(weights=str(path)).init_weights()
    torch.save([1, 2], path)
    with pytest.raises(WeightsError, match="no VGG19: no state dict is in it"):
        PerceptualLoss(weights=str(path)).init_weights()
    path.write_text("hello")
    with pytest.raises(WeightsError, match="cut off, damaged or no PyTorch checkpoint"):
        PerceptualLoss(weights=str(path)).init_weights()
    with pytest.raises(WeightsError, match="no such weights file"):
        PerceptualLoss(weights=str(tmp_path / "none.pth")).init_weights()


def test_without_network_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args, **kwargs) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(WeightsError, match=r"vgg19: the weights are not on this machine .* put it at .*vgg19-dcbb9e9d"):
        PerceptualLoss().init_weights()


def test_a_layer_that_is_no_convolution() -> None:
    with pytest.raises(ValueError, match="'3' is no convolution of VGG19"):
        PerceptualLoss({"3": 1.0})
