"""Packed clips: what numpy and `PackedClip` read of them, and what is left when writing fails."""

import resource

import numpy as np
import pytest

from vsr_plugin.data.clips import Window, find_clips
from vsr_plugin.data.clips.packed import HEADER_BYTES, PackedWriter, packed_bytes
from vsr_plugin.errors import MediaError


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (5, 12, 20, 3), np.uint8)


def pack(path, frames, **expected):
    with PackedWriter(path, height=frames.shape[1], width=frames.shape[2], **expected) as writer:
        for frame in frames:
            writer.write(frame)


def test_numpy_and_clips_read_it(tmp_path, frames):
    path = tmp_path / "a.npy"
    pack(path, frames, num_frames=5)
    mapped = np.load(path, mmap_mode="r")
    np.testing.assert_array_equal(mapped, frames)
    assert mapped.offset == HEADER_BYTES
    assert mapped.flags.c_contiguous
    assert path.stat().st_size == packed_bytes(5, 12, 20)
    clip = find_clips(tmp_path)["a"]
    part = clip.read([3, 0, 3], Window(2, 5, 7, 11))
    np.testing.assert_array_equal(part, frames[[3, 0, 3], 2:9, 5:16])


def test_length_need_not_be_known(tmp_path, frames):
    pack(tmp_path / "a.npy", frames[:2], num_frames=5)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), frames[:2])


def test_frames_that_are_views(tmp_path, frames):
    pack(tmp_path / "a.npy", frames[:, ::-1, 3:9])
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), frames[:, ::-1, 3:9])


@pytest.mark.parametrize("fault", [KeyboardInterrupt, RuntimeError])
def test_interruption_leaves_nothing(tmp_path, frames, fault):
    def write():
        with PackedWriter(tmp_path / "a.npy", height=12, width=20) as writer:
            writer.write(frames[0])
            assert not (tmp_path / "a.npy").exists()
            raise fault

    with pytest.raises(fault):
        write()
    assert list(tmp_path.iterdir()) == []


def test_unfinished_file_is_no_clip(tmp_path, frames):
    pack(tmp_path / "whole.npy", frames)
    with PackedWriter(tmp_path / "a.npy", height=12, width=20) as writer:
        writer.write(frames[0])
        assert list(find_clips(tmp_path)) == ["whole"]


def test_another_size(tmp_path, frames):
    def write():
        with PackedWriter(tmp_path / "a.npy", height=12, width=20) as writer:
            writer.write(frames[0])
            writer.write(frames[0][:, 1:])

    with pytest.raises(MediaError, match=r"a\.npy: frame 1 is 19x12, those before are 20x12"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_no_frames(tmp_path):
    with pytest.raises(MediaError, match="no frame"), PackedWriter(tmp_path / "a.npy", height=4, width=4):
        pass
    assert list(tmp_path.iterdir()) == []


def test_existing_file_is_kept(tmp_path, frames):
    (tmp_path / "a.npy").write_bytes(b"mine")
    with pytest.raises(MediaError, match="exists already"):
        PackedWriter(tmp_path / "a.npy", height=12, width=20)
    assert (tmp_path / "a.npy").read_bytes() == b"mine"


def test_too_large_for_the_disk(tmp_path):
    with pytest.raises(MediaError, match=r"GB are needed and .* GB are free"):
        PackedWriter(tmp_path / "a.npy", height=10**5, width=10**5, num_frames=10**6)
    assert list(tmp_path.iterdir()) == []


def test_disk_that_fills_up(tmp_path, frames):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(MediaError, match=r"a\.npy: writing failed at frame \d .*free space") as error:
            pack(tmp_path / "a.npy", np.concatenate([frames] * 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
