"""Weights in safetensors, whole, of half precision and damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from mmengine.runner import load_checkpoint
from small_weights import refused, small

from vsr_plugin.models import BasicVSRNet
from vsr_plugin.registry import MODELS
from vsr_plugin.weights import load_into, load_net, read_checkpoint


@pytest.mark.parametrize("name", ["net.safetensors", "net.pth"])
@pytest.mark.parametrize("prefix", ["", "generator."])
def test_they_load_under_any_name(name: str, prefix: str, tmp_path: Path) -> None:
    net = small(BasicVSRNet)
    tensors = {prefix + key: tensor for key, tensor in net.state_dict().items()}
    safetensors.torch.save_file(tensors, tmp_path / name, metadata={"made by": "a test"})
    found = load_net(tmp_path / name)
    assert all(torch.equal(tensor, net.state_dict()[key]) for key, tensor in found.state_dict().items())
    assert read_checkpoint(tmp_path / name).keys() == tensors.keys()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["half.safetensors", "half.pth"])
def test_half_precision_goes_into_float32(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    net = small(BasicVSRNet)
    tensors = {key: tensor.to(dtype) for key, tensor in net.state_dict().items()}
    (safetensors.torch.save_file if name.endswith("safetensors") else torch.save)(tensors, tmp_path / name)
    filled = small(BasicVSRNet)
    load_into(filled, tmp_path / name)
    for found in (load_net(tmp_path / name), filled):
        for key, tensor in found.state_dict().items():
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, tensors[key].float()), key


def test_mmengine_takes_them(tmp_path: Path) -> None:
    net = small(BasicVSRNet)
    safetensors.torch.save_file(net.state_dict(), tmp_path / "net.safetensors")
    generator = dict(type="BasicVSRNet", mid_channels=8, num_blocks=1)
    model = MODELS.build(dict(type="VideoRestorer", generator=generator, pixel_loss=dict(type="CharbonnierLoss")))
    load_checkpoint(model, str(tmp_path / "net.safetensors"))
    assert torch.equal(model.generator.conv_last.weight, net.conv_last.weight)


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    whole = safetensors.torch.save(small(BasicVSRNet).state_dict())
    header = 8 + int.from_bytes(whole[:8], "little")
    reason = "the file is cut off, damaged or no safetensors; fetch it again"
    for length in (0, 5, 8, 9, header - 1, header, header + 1, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert refused(path).endswith(reason), length
    for content in (b"<!DOCTYPE html><html>404</html>", b"\xff" * 64, b"\2" + 7 * b"\0" + b"[]", whole + b"more"):
        path.write_bytes(content)
        assert refused(path).endswith(reason), content[:20]
    table = json.dumps({"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(table).to_bytes(8, "little") + table + bytes(4))
    assert refused(path).endswith(reason)
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        damaged = bytearray(whole)
        for position in torch.randint(header, (3,), generator=generator).tolist():
            damaged[position] = int(torch.randint(256, (1,), generator=generator))
        if damaged != whole:
            path.write_bytes(damaged)
            refused(path)


def test_a_checkpoint_of_pytorch_under_their_name(tmp_path: Path) -> None:
    torch.save(small(BasicVSRNet).state_dict(), tmp_path / "net.safetensors")
    assert "no safetensors" in refused(tmp_path / "net.safetensors")
    assert "no such weights file" in refused(tmp_path / "none.safetensors")
