"""What the exact strategy does with a disk that is small, or full."""

import copy
import errno
import os
from collections import namedtuple

import pytest
import torch

from vsr_plugin.errors import MediaError
from vsr_plugin.inference import storage
from vsr_plugin.inference.planning import Plan
from vsr_plugin.inference.sequence import restore_sequence
from vsr_plugin.inference.storage import RecordFile, Spill, needed_bytes, writing
from vsr_plugin.models import RealBasicVSRNet
from vsr_plugin.models.vsr_net import with_ensemble

Usage = namedtuple("Usage", "free")
PLAN = Plan("exact", 4)


@pytest.fixture
def clip():
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, 8, 8, generator=generator) for _ in range(12)]


def restored(net, clip, folder, notes=None, first=0):
    pieces = restore_sequence(
        net,
        clip,
        PLAN,
        folder=folder,
        persistent=True,
        first_frame=first,
        on_note=None if notes is None else notes.append,
    )
    return torch.stack([hr for _, hr in pieces])


def check_needed(net, clip, folder):
    restored(net, clip, folder)
    files = {path.stem: path.stat().st_size for path in folder.rglob("*.bin")}
    # Records lie at the places of their frames, and a file takes no room where there are none.
    files["feature"] = files.get("feature", 0) / 12 * len(net.feature_windows(12))
    written = sum(files.values())
    needed = needed_bytes(net, 12, 64, 4, states=True)
    # The last frame has no flow to the next one, and a sweep nothing to begin with.
    assert written <= needed <= 1.15 * written


def test_what_is_needed_is_what_is_written(either_net, clip, tmp_path):
    check_needed(either_net, clip, tmp_path)


def test_rounds_of_cleaning_need_room_for_two(clip, tmp_path):
    net = RealBasicVSRNet(8, 1, 1, dynamic_refine_thres=0, spynet_width=4).eval()
    check_needed(net, clip, tmp_path)
    assert len([*tmp_path.rglob("cleaned/*")]) == 2
    with torch.no_grad():
        whole = net(torch.stack(clip)[None])[0]
    # A later process cleans over what the earlier one has left.
    torch.testing.assert_close(restored(net, clip, tmp_path), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("share", "keeps"), [(1.2, True), (1.0, False), (0.6, False)])
def test_states_are_kept_where_there_is_room(small_net, tmp_path, monkeypatch, share, keeps):
    needed = needed_bytes(small_net, 12, 64, 4, states=True)
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda folder: Usage(share * needed))
    assert Spill(tmp_path, small_net, 12, 64, 4).keeps_states() == keeps
    # A later process keeps to it, whatever is free then.
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda folder: Usage(2 * needed))
    assert Spill(tmp_path, small_net, 12, 64, 4).keeps_states() == keeps


def test_a_disk_without_room_is_refused_before_the_work(small_net, clip, tmp_path, monkeypatch):
    least = needed_bytes(small_net, 12, 64, 4, states=False)
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda folder: Usage(least - 5000))
    with pytest.raises(MediaError, match=r"GiB free, of .* GiB that the exact strategy keeps .*--strategy window"):
        restored(small_net, clip, tmp_path)


def say_full(path):
    with writing(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Disk:
    """Lets so many states be written, and then is full until they are deleted."""

    def __init__(self, monkeypatch, states: int):
        self.left, write = states, RecordFile.write

        def full(file, number, tensor):
            if file.path.name == "backward.bin":
                self.left -= 1
                if self.left < 0:
                    say_full(file.path)
            write(file, number, tensor)

        monkeypatch.setattr(RecordFile, "write", full)


@pytest.mark.parametrize("states", [0, 3, 7])
def test_states_are_given_up_when_the_disk_becomes_full(either_net, clip, tmp_path, monkeypatch, states):
    (tmp_path / "enough").mkdir()
    expected = restored(either_net, clip, tmp_path / "enough")
    disk = Disk(monkeypatch, states)
    (tmp_path / "small").mkdir()
    notes = []
    with pytest.raises(MediaError, match="No space left"):  # those of the first block are always kept
        restored(either_net, clip, tmp_path / "small", notes)
    assert notes == ["the disk is full: states are computed again instead of kept there"]
    disk.left = 4
    torch.testing.assert_close(restored(either_net, clip, tmp_path / "small"), expected, rtol=0, atol=1e-6)


def test_a_full_disk_in_the_second_sweep_is_said(small_net, clip, tmp_path, monkeypatch):
    write = RecordFile.write

    def full(file, number, tensor):
        if file.path.name == "forward_border.bin":
            say_full(file.path)
        write(file, number, tensor)

    with monkeypatch.context() as patch:
        patch.setattr(RecordFile, "write", full)
        with pytest.raises(MediaError, match=r"forward_border.bin: cannot be written \(No space left"):
            restored(small_net, clip, tmp_path)
    assert restored(small_net, clip, tmp_path).shape == (12, 3, 32, 32)


class Notes:
    """Finds the disk full at the first note of a name."""

    def __init__(self, monkeypatch, name: str):
        self.name, self.write = name, storage.write_text
        monkeypatch.setattr(storage, "write_text", self)

    def __call__(self, path, text):
        if path.name == self.name:
            self.name = None
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.write(path, text)


@pytest.mark.parametrize("name", ["swept", "backward.json"])
def test_states_are_given_up_when_a_note_finds_the_disk_full(small_net, clip, tmp_path, monkeypatch, name):
    Notes(monkeypatch, name)
    notes = []
    with torch.no_grad():
        expected = small_net(torch.stack(clip)[None])[0]
    torch.testing.assert_close(restored(small_net, clip, tmp_path, notes), expected, rtol=0, atol=1e-5)
    assert notes == ["the disk is full: states are computed again instead of kept there"]


@pytest.mark.parametrize("name", ["keeps_states", "turns_done", "overflowed"])
def test_a_note_that_finds_the_disk_full_says_so(small_net, clip, tmp_path, monkeypatch, name):
    Notes(monkeypatch, name)
    nets = dict(turns_done=with_ensemble(small_net, 2), overflowed=copy.deepcopy(small_net))
    nets["overflowed"].conv_last.bias.data.fill_(torch.inf)
    pieces = restore_sequence(
        nets.get(name, small_net), clip, PLAN, folder=tmp_path, persistent=True, precise_net=lambda: small_net
    )
    with pytest.raises(MediaError, match=rf"{name}: cannot be written \(No space left on device\); free space"):
        list(pieces)
