"""Files that are no checkpoint, damaged, not there, or programs: one line, and nothing is run."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from small_weights import refused, save, small

from vsr_plugin.errors import WeightsError
from vsr_plugin.models import BasicVSRNet, SPyNet
from vsr_plugin.weights import PUBLISHED, load_net, read_checkpoint


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
    (tmp_path / "x.pth").touch()
    with pytest.raises(WeightsError, match=r"x\.pth: cannot be read: Input/output error"):
        read_checkpoint(tmp_path / "x.pth")
