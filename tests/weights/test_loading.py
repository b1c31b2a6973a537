"""Sizes read from files, parts of networks, and what is refused, by message."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from vsr_plugin.errors import VSRError, WeightsError
from vsr_plugin.models import BasicVSRNet, EDVRFeatureExtractor, IconVSRNet, SPyNet
from vsr_plugin.registry import MODELS
from vsr_plugin.weights import PUBLISHED, load_into, load_net, read_checkpoint


def save(net: nn.Module, path: Path) -> Path:
    torch.save(net.state_dict(), path)
    return path


def small(kind: type[nn.Module], **arguments) -> nn.Module:
    return kind(mid_channels=8, num_blocks=1, **arguments)


# Sizes.


@pytest.mark.parametrize("basicsr", [False, True])
@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (BasicVSRNet, dict(mid_channels=8, num_blocks=2)),
        (BasicVSRNet, dict(mid_channels=12, num_blocks=11)),
        (IconVSRNet, dict(mid_channels=8, num_blocks=2, padding=1)),
        (IconVSRNet, dict(mid_channels=12, num_blocks=1, padding=2)),
        (IconVSRNet, dict(mid_channels=8, num_blocks=2, padding=3)),
        (IconVSRNet, dict(mid_channels=8, num_blocks=2, padding=0)),
        (EDVRFeatureExtractor, dict(mid_channels=12, num_frames=7, deform_groups=6, num_blocks_extraction=3)),
        (EDVRFeatureExtractor, dict(mid_channels=8, num_frames=3, in_channels=1, with_tsa=False)),
    ],
)
def test_sizes_are_read_from_the_file(
    kind: type, arguments: dict, basicsr: bool, tmp_path: Path, basicsr_layout: Callable, check_same: Callable
) -> None:
    net = kind(**arguments).eval()
    tensors = net.state_dict()
    torch.save(basicsr_layout(tensors) if basicsr else tensors, tmp_path / "weights.pth")
    found = load_net(tmp_path / "weights.pth")
    for name, value in arguments.items():
        if hasattr(net, name):
            assert getattr(found, name) == value
    if arguments.get("in_channels", 3) == 3:
        check_same(found, net)
    assert str(found) == str(net)


@pytest.mark.parametrize("stride", [1, 7, None])
def test_keyframe_stride_is_an_argument(stride: int | None, tmp_path: Path) -> None:
    path = save(small(IconVSRNet), tmp_path / "icon.pth")
    assert load_net(path).keyframe_stride == 5
    assert load_net(path, keyframe_stride=stride).keyframe_stride == stride


def test_networks_come_in_evaluation_mode_and_float32(tmp_path: Path) -> None:
    net = load_net(save(small(BasicVSRNet), tmp_path / "basic.pth"), device="cpu")
    assert not any(module.training for module in net.modules())
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}


def test_files_may_have_any_name(tmp_path: Path) -> None:
    assert isinstance(load_net(save(SPyNet(), tmp_path / "basicvsr_reds4")), SPyNet)


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save(SPyNet(), tmp_path / "flow.pth")
    assert isinstance(load_net("~/flow.pth"), SPyNet)


# Into networks that exist.


def same(found: nn.Module, expected: nn.Module) -> bool:
    state = expected.state_dict()
    return all(torch.equal(tensor, state[key]) for key, tensor in found.state_dict().items())


@pytest.mark.parametrize("whole", [BasicVSRNet, IconVSRNet])
def test_spynet_takes_its_part_of_a_whole_network(whole: type, tmp_path: Path) -> None:
    source, net = small(whole), SPyNet()
    assert not same(net, source.spynet)
    load_into(net, save(source, tmp_path / "whole.pth"))
    assert same(net, source.spynet)


def test_extractor_takes_its_part_of_iconvsr(tmp_path: Path) -> None:
    source = small(IconVSRNet)
    net = EDVRFeatureExtractor(mid_channels=8)
    load_into(net, save(source, tmp_path / "whole.pth"))
    assert same(net, source.edvr)


def test_whole_networks_are_loaded_in_place(tmp_path: Path) -> None:
    source, net = small(BasicVSRNet), small(BasicVSRNet)
    parameter = net.conv_last.weight
    load_into(net, save(source, tmp_path / "whole.pth"))
    assert same(net, source)
    assert net.conv_last.weight is parameter


def test_pretrained_whole_network(tmp_path: Path) -> None:
    source = small(IconVSRNet)
    path = str(save(source, tmp_path / "whole.pth"))
    config = dict(
        type="vsr_plugin.IconVSRNet",
        mid_channels=8,
        num_blocks=1,
        init_cfg=dict(type="Pretrained", checkpoint=path),
    )
    net = MODELS.build(config)
    assert not same(net, source)
    net.init_weights()
    assert same(net, source)


def test_pretrained_parts(tmp_path: Path) -> None:
    flow, icon = SPyNet(), small(IconVSRNet)
    net = small(
        IconVSRNet,
        spynet_pretrained=str(save(flow, tmp_path / "flow.pth")),
        edvr_pretrained=str(save(icon, tmp_path / "icon.pth")),
    )
    before = net.conv_last.weight.clone()
    net.init_weights()
    assert same(net.spynet, flow)
    assert same(net.edvr, icon.edvr)
    assert torch.equal(net.conv_last.weight, before)


def test_pretrained_part_inside_a_training_model(tmp_path: Path) -> None:
    from mmengine.model import BaseModule

    flow = SPyNet()
    model = BaseModule()
    model.generator = small(BasicVSRNet, spynet_pretrained=str(save(flow, tmp_path / "flow.pth")))
    model.init_weights()
    assert same(model.generator.spynet, flow)


def test_pretrained_by_name(official: tuple[str, Path]) -> None:
    net = small(BasicVSRNet, spynet_pretrained=official[0])
    net.init_weights()
    assert same(net.spynet, load_net(official[0]).spynet)


def test_pretrained_file_that_is_missing_is_an_error() -> None:
    net = small(BasicVSRNet, spynet_pretrained="no/such/file.pth")
    with pytest.raises(WeightsError, match=r"no/such/file\.pth: no such weights file"):
        net.init_weights()


# Refusals.


def refused(name_or_path: object, load: Callable = load_net) -> str:
    with pytest.raises(WeightsError) as caught:
        load(name_or_path)
    message = str(caught.value)
    assert isinstance(caught.value, VSRError)
    # One line that begins with what was asked for.
    assert "\n" not in message
    assert message.startswith(str(name_or_path))
    return message


def test_unknown_name_lists_the_names() -> None:
    message = refused("basicvsr_reds")
    assert "no such weights file, and no published name; the names are basicvsr_reds4, " in message
    assert all(name in message for name in PUBLISHED)


def test_missing_file(tmp_path: Path) -> None:
    assert "no such weights file" in refused(tmp_path / "weights.pth")


def test_folder(tmp_path: Path) -> None:
    assert refused(tmp_path).endswith("this is a folder; name the checkpoint file in it")


@pytest.mark.parametrize("address", ["https://example.org/net.pth", "http://127.0.0.1/net.pth"])
def test_unknown_address_is_not_fetched(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *args, **kwargs: pytest.fail("fetched"))
    assert "only published files, whose hash is known, are downloaded" in refused(address)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello world\n",
        b"# Weights\n\nSee the releases.",
        b"PK",
        b"\x80",
        b"\x00\x00\x00\x20ftypisom" * 9,
        bytes(range(256)) * 4,
        b"<!DOCTYPE html><html>404</html>",
        b"version https://git-lfs.github.com/spec/v1\n",
    ],
    ids=["empty", "text", "markdown", "pk", "proto", "mp4", "binary", "html", "lfs"],
)
def test_files_that_are_no_checkpoint(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert refused(path).endswith("the file is cut off, damaged or no PyTorch checkpoint; fetch it again")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_cut_files(zipped: bool, tmp_path: Path) -> None:
    tensors = {"conv_first.weight": torch.rand(8, 3, 3, 3), "conv_first.bias": torch.rand(8)}
    buffer = io.BytesIO()
    torch.save(tensors, buffer, _use_new_zipfile_serialization=zipped)
    whole = buffer.getvalue()
    path = tmp_path / "weights.pth"
    for length in {*range(0, len(whole), 37), *range(40), *range(len(whole) - 40, len(whole))}:
        path.write_bytes(whole[:length])
        message = refused(path)
        # Without an index at its end, an older file may be cut amid the name of a class, which then is another's.
        expected = "the file is cut off, damaged or no PyTorch checkpoint"
        assert expected in message or (not zipped and "refused: the file is a pickle" in message), length


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9999])
def test_cut_official_file(share: float, official: tuple[str, Path], tmp_path: Path) -> None:
    whole = official[1].read_bytes()
    path = tmp_path / "weights.pth"
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "the file is cut off, damaged or no PyTorch checkpoint" in refused(path)
    path.unlink()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_files_never_escape_as_another_error(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    path = tmp_path / "weights.pth"
    for zipped in (True, False):
        buffer = io.BytesIO()
        torch.save(small(BasicVSRNet).fusion.state_dict(), buffer, _use_new_zipfile_serialization=zipped)
        for _ in range(150):
            damaged = bytearray(buffer.getvalue())
            for position in torch.randint(min(700, len(damaged)), (3,), generator=generator).tolist():
                damaged[position] = int(torch.randint(256, (1,), generator=generator))
            path.write_bytes(damaged)
            with pytest.raises(WeightsError):
                load_net(path)


class RunsCode:
    """Leaves a file when unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def write_code(kind: str, path: Path, mark: Path) -> None:
    payload = {"state_dict": {"conv.weight": torch.zeros(1)}, "extra": RunsCode(mark)}
    if kind == "zip":
        torch.save(payload, path)
    elif kind == "legacy":
        torch.save(payload, path, _use_new_zipfile_serialization=False)
    elif kind == "system":
        payload["extra"] = type("System", (), {"__reduce__": lambda self: (os.system, (f"touch '{mark}'",))})()
        torch.save(payload, path)
    else:
        path.write_bytes(pickle.dumps(RunsCode(mark), protocol=int(kind[-1])))


@pytest.mark.parametrize("kind", ["zip", "legacy", "system", *(f"pickle_{protocol}" for protocol in range(6))])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_pickles_with_code_are_refused_and_not_run(kind: str, tmp_path: Path) -> None:
    path, mark = tmp_path / "weights.pth", tmp_path / "code has run"
    write_code(kind, path, mark)
    message = refused(path)
    assert not mark.exists()
    assert "refused: the file is a pickle with objects other than plain weights, which could run code" in message

    # And it would have run, or this test would show nothing.
    if kind.startswith("pickle"):
        pickle.loads(path.read_bytes()).close()
    elif kind != "system":
        torch.load(path, weights_only=False)["extra"].close()
    else:
        torch.load(path, weights_only=False)
    assert mark.exists()


def test_whole_modules_are_refused(tmp_path: Path) -> None:
    torch.save(SPyNet(), tmp_path / "module.pth")
    assert "refused: the file is a pickle with objects other than plain weights" in refused(tmp_path / "module.pth")


def test_other_zip_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        archive.writestr("a.txt", "a")
    assert "no PyTorch checkpoint" in refused(tmp_path / "weights.pth")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_unreadable_file(tmp_path: Path) -> None:
    path = save(SPyNet(), tmp_path / "weights.pth")
    path.chmod(0)
    assert "cannot be read: Permission denied" in refused(path)


def test_file_system_errors_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args, **kwargs):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(WeightsError, match=r"x\.pth: cannot be read: Input/output error"):
        read_checkpoint("x.pth")


@pytest.mark.parametrize(
    "checkpoint",
    [
        {"conv1.weight": torch.rand(3, 3), "layer1.0.bias": torch.rand(3)},
        {"params": {"body.0.weight": torch.rand(1)}},
        {"state_dict": {"discriminator.conv.weight": torch.rand(1)}},
    ],
)
def test_weights_of_another_model(checkpoint: dict, tmp_path: Path) -> None:
    torch.save(checkpoint, tmp_path / "weights.pth")
    message = refused(tmp_path / "weights.pth")
    assert "weights of another model (" in message
    assert "this package loads BasicVSR, IconVSR, SPyNet and EDVR-M" in message


def test_weights_of_mmagic_nets_that_are_not_ours(tmp_path: Path) -> None:
    from mmagic.models import RRDBNet, TOFlowVSRNet

    for net in (RRDBNet(3, 3, mid_channels=4, num_blocks=1, growth_channels=4), TOFlowVSRNet()):
        torch.save({"state_dict": {f"generator.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "w.pth")
        assert "weights of another model" in refused(tmp_path / "w.pth")


def test_weights_of_basicvsr_plus_plus(tmp_path: Path) -> None:
    # The nearest relative: it has SPyNet, upsampling and some of the names, but other branches.
    from mmagic.models import BasicVSRPlusPlusNet

    net = BasicVSRPlusPlusNet(mid_channels=8, num_blocks=1)
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    assert "weights of another model" in refused(tmp_path / "weights.pth")


@pytest.mark.parametrize("checkpoint", [{}, {"epoch": 3}, [torch.rand(3)], torch.rand(3), 5, {"params": {}}])
def test_checkpoints_without_tensors(checkpoint: object, tmp_path: Path) -> None:
    torch.save(checkpoint, tmp_path / "weights.pth")
    assert "no named tensors in this file" in refused(tmp_path / "weights.pth")


def test_missing_tensors(small_net: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    keys = [key for key in small_net.state_dict() if key.rpartition(".")[2] not in ("mean", "std")]
    # Every third: weights and biases of all parts.
    for key in keys[::3]:
        tensors = dict(small_net.state_dict())
        del tensors[key]
        torch.save(tensors, path)
        message = refused(path)
        # A few tensors tell the architecture; without one of those the file may pass for another model's.
        assert "missing" in message or "weights of another model" in message, key


def test_missing_tensor_is_named(tmp_path: Path) -> None:
    tensors = small(BasicVSRNet).state_dict()
    del tensors["upsample1.upsample_conv.weight"], tensors["upsample1.upsample_conv.bias"]
    torch.save(tensors, tmp_path / "weights.pth")
    message = refused(tmp_path / "weights.pth")
    assert message.endswith("does not fit BasicVSRNet: tensors 2 missing (upsample1.upsample_conv.weight, ...)")


def test_unexpected_tensor_is_named(tmp_path: Path) -> None:
    tensors = {**small(BasicVSRNet).state_dict(), "is_ours": torch.zeros(1)}
    torch.save(tensors, tmp_path / "weights.pth")
    assert refused(tmp_path / "weights.pth").endswith("tensors 1 unexpected (is_ours)")


def test_tensor_of_another_size_is_named(tmp_path: Path) -> None:
    tensors = {**small(BasicVSRNet).state_dict(), "conv_hr.bias": torch.zeros(1)}
    torch.save(tensors, tmp_path / "weights.pth")
    assert refused(tmp_path / "weights.pth").endswith("tensors 1 of another size (conv_hr.bias)")


@pytest.mark.parametrize(
    "key",
    ["forward_resblocks.main.0.weight", "edvr.conv_first.weight", "edvr.fusion.feat_fusion.conv.weight"],
)
@pytest.mark.parametrize("shape", [(), (0,), (8,)])
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_tensors_that_tell_the_sizes_may_be_damaged(key: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    tensors = {**small(IconVSRNet).state_dict(), key: torch.zeros(shape)}
    torch.save(tensors, tmp_path / "weights.pth")
    refused(tmp_path / "weights.pth")


@pytest.mark.parametrize("rows", [0, 5, 27 * 3, 27 * 8 + 1])
def test_offsets_that_tell_the_groups_may_be_damaged(rows: int, tmp_path: Path) -> None:
    tensors = EDVRFeatureExtractor(mid_channels=8).state_dict()
    tensors["pcd_alignment.cas_dcnpack.conv_offset.weight"] = torch.zeros(rows, 8, 3, 3)
    torch.save(tensors, tmp_path / "weights.pth")
    refused(tmp_path / "weights.pth")


def test_nothing_is_loaded_when_something_does_not_fit(tmp_path: Path) -> None:
    net, other = small(BasicVSRNet), small(BasicVSRNet)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    torch.save({**other.state_dict(), "conv_hr.bias": torch.zeros(1)}, tmp_path / "weights.pth")
    refused(tmp_path / "weights.pth", lambda path: load_into(net, path))
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())


@pytest.mark.parametrize(
    ("source", "net", "message"),
    [
        (lambda: SPyNet(), lambda: small(BasicVSRNet), "weights of SPyNet, not of BasicVSRNet"),
        (lambda: small(IconVSRNet), lambda: small(BasicVSRNet), "weights of IconVSRNet, not of BasicVSRNet"),
        (lambda: small(BasicVSRNet), lambda: small(IconVSRNet), "weights of BasicVSRNet, not of IconVSRNet"),
        (
            lambda: small(BasicVSRNet),
            lambda: EDVRFeatureExtractor(mid_channels=8),
            "weights of BasicVSRNet, not of EDVR",
        ),
        (
            lambda: EDVRFeatureExtractor(mid_channels=8),
            lambda: SPyNet(),
            "weights of EDVRFeatureExtractor, not of SPyNet",
        ),
        (
            lambda: small(IconVSRNet, padding=3),
            lambda: small(IconVSRNet),
            "does not fit IconVSRNet: tensors 2 of another",
        ),
        (lambda: small(BasicVSRNet), lambda: BasicVSRNet(8, 2), "does not fit BasicVSRNet: tensors 8 missing"),
        (lambda: BasicVSRNet(8, 2), lambda: small(BasicVSRNet), "does not fit BasicVSRNet: tensors 8 unexpected"),
        (lambda: small(BasicVSRNet), lambda: BasicVSRNet(12, 1), "does not fit BasicVSRNet: tensors 1[0-9] of another"),
    ],
)
def test_weights_of_another_network_are_not_loaded_into_one(
    source: Callable, net: Callable, message: str, tmp_path: Path
) -> None:
    path = save(source(), tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=message):
        load_into(net(), path)
