"""The folder of a job keeps what it was given, whatever happens at its beginning and its end."""

import errno
import fcntl
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from vsr_plugin.errors import MediaError
from vsr_plugin.media.segmented import Segment
from vsr_plugin.restoration.job import FOLDERS, JobFolder, SegmentRecord

SETTINGS = dict(input="in.mp4")


@pytest.fixture
def begun(tmp_path):
    """A job of which one segment is finished and which no process works on."""
    job = JobFolder(tmp_path / "out.mp4")
    job.begin(SETTINGS, resume=False)
    job.record(SegmentRecord(Segment(0, 48)))
    job.leave()
    return job


@pytest.mark.parametrize("resume", [True, False])
def test_a_job_that_cannot_be_locked_is_not_removed(begun, monkeypatch, resume):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(MediaError, match=r"out\.mp4: .* \(No locks available\); choose another place"):
        JobFolder(begun.output).begin(SETTINGS, resume=resume)
    monkeypatch.undo()
    job = JobFolder(begun.output)
    assert job.begin(SETTINGS, resume=True)
    assert job.find(0).segment.frames == 48
    job.release()


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_run_that_was_killed_while_it_emptied_the_folder_can_be_followed(begun, monkeypatch, folder):
    def killed(path):
        if path.name == folder:
            raise KeyboardInterrupt
        rmtree(path)

    rmtree = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        JobFolder(begun.output).begin(SETTINGS, resume=False, overwrite=True)
    monkeypatch.undo()
    job = JobFolder(begun.output)
    assert not job.begin(SETTINGS, resume=True)
    assert list(job.records()) == []
    job.record(SegmentRecord(Segment(0, 48)))
    job.leave()


def test_folders_that_are_missing_are_made_when_it_is_gone_on_with(begun):
    (begun.path / "shots").rmdir()
    job = JobFolder(begun.output)
    assert job.begin(SETTINGS, resume=True)
    assert job.shots.is_dir()
    job.release()


def test_a_folder_made_in_vain_is_removed(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("vsr_plugin.restoration.job.write_text", full)
    with pytest.raises(MediaError, match="No space left on device"):
        JobFolder(tmp_path / "out.mp4").begin(SETTINGS, resume=True)
    assert list(tmp_path.iterdir()) == []


def test_only_the_last_versions_for_the_picture_are_kept(begun):
    for index in (47, 95, 60, 120):
        begun.keep_versions(index, dict(restored=np.full((2, 2, 3), index, np.uint8)))
    assert begun.last_versions()["restored"].max() == 120
    assert [path.name for path in begun.path.glob("picture-*")] == ["picture-00000120.npz"]


def test_the_newest_frame_is_kept_small(begun):
    for level in (10, 200):
        begun.show_newest(np.full((500, 2000, 3), level, np.uint8))
    with Image.open(begun.newest) as picture:
        assert picture.size == (960, 240)
        assert picture.getpixel((5, 5)) == (200, 200, 200)


def test_a_full_disk_keeps_the_newest_frame_from_nobody_else(begun, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("vsr_plugin.restoration.job.NewFile.__init__", full)
    begun.show_newest(np.zeros((4, 4, 3), np.uint8))
    assert not begun.newest.exists()


def test_a_finished_job_says_so_until_it_is_gone(begun):
    assert begun.completed is None
    begun.complete(48)
    assert JobFolder(begun.output).completed == 48
    begun.remove()
    assert JobFolder(begun.output).completed is None
