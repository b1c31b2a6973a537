"""Which clips a folder holds, and what annotation files name."""

import os

import cv2
import numpy as np
import pytest

from vsr_plugin.data.clips import ImageClip, PackedClip, VideoClip, find_clips, read_clip_names
from vsr_plugin.errors import DataError


@pytest.fixture
def root(tmp_path):
    """A folder with clips of all kinds at several depths, and what people leave beside them."""
    root = tmp_path / "data"
    for name in ("b/10", "b/9", "b 2", "a", ".hidden"):
        (root / name).mkdir(parents=True)
        cv2.imwrite(str(root / name / "im1.png"), np.zeros((4, 4, 3), np.uint8))
    (root / "b" / "c.v2.mp4").touch()
    (root / "b" / ".part.mp4").touch()
    np.save(root / "p.npy", np.zeros((2, 4, 4, 3), np.uint8))
    (root / "readme.txt").touch()
    (root / "empty").mkdir()
    return root


def test_all_kinds_are_found_at_any_depth_in_natural_order(root):
    clips = find_clips(root)
    assert list(clips) == ["a", "b/9", "b/10", "b/c.v2", "b 2", "p"]
    assert [clip.name for clip in clips.values()] == list(clips)
    assert [type(clips[name]) for name in ("a", "b/c.v2", "p")] == [ImageClip, VideoClip, PackedClip]


def test_named_clips_come_in_their_order_and_nothing_else_is_listed(root, monkeypatch):
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(str(path)) or scandir(path))
    clips = find_clips(root, ["p", "b/10", "b/c.v2"])
    assert [(name, type(clip)) for name, clip in clips.items()] == [
        ("p", PackedClip),
        ("b/10", ImageClip),
        ("b/c.v2", VideoClip),
    ]
    assert listed == [str(root), str(root / "b")]


def test_a_root_may_be_one_clip(root):
    assert list(find_clips(root / "b" / "9")) == ["9"]
    assert list(find_clips(root / "b" / "9", ["9"])) == ["9"]
    assert list(find_clips(root / "p.npy")) == ["p"]
    assert list(find_clips(root / "b" / "c.v2.mp4")) == ["c.v2"]


@pytest.mark.parametrize("names", [["a", "zz"], ["a", "c.v2"], ["a", "q/1"], ["a", "data"]])
def test_a_named_clip_that_is_missing(root, names):
    with pytest.raises(DataError, match=f"clip {names[1]} is not under .*data; get it or take it off the list"):
        find_clips(root, names)


def test_faults_of_the_root(root):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        find_clips(root / "nowhere")
    with pytest.raises(DataError, match="empty: holds no clips"):
        find_clips(root / "empty")
    with pytest.raises(DataError, match=r"readme\.txt: is neither a video nor a packed clip"):
        find_clips(root / "readme.txt")
    (root / "a.mkv").touch()
    with pytest.raises(DataError, match="are both clip a; keep one of them"):
        find_clips(root)
    with pytest.raises(DataError, match="are both clip a; keep one of them"):
        find_clips(root, ["a"])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("000 100 (720,1280,3)\r\n\r\n001 100 (720,1280,3)\r\n", ["000", "001"]),
        ("\ufeff00001/0001 7 (256,448,3)\n00001/0002 7 (256,448,3)", ["00001/0001", "00001/0002"]),
        ("\n00001/0001\n\n 00001/0002 \n", ["00001/0001", "00001/0002"]),
        (
            "000/00000000.png (720, 1280, 3)\n000/00000001.png (720, 1280, 3)\n015/00000000.png (720, 1280, 3)",
            ["000", "015"],
        ),
        ("my clip (1920x1080)\nshopping mall 31 (720, 1280, 3)", ["my clip (1920x1080)", "shopping mall"]),
        ("000\n000\n", ["000"]),
    ],
)
def test_annotation_files(tmp_path, text, names):
    path = tmp_path / "meta_info.txt"
    path.write_bytes(text.encode())
    assert read_clip_names(path) == names


def test_bad_annotation_files(tmp_path):
    with pytest.raises(DataError, match=r"gone\.txt: the annotation file cannot be read \(No such file"):
        read_clip_names(tmp_path / "gone.txt")
    (tmp_path / "blank.txt").write_text("\r\n\r\n")
    with pytest.raises(DataError, match=r"blank\.txt: the annotation file names no clips"):
        read_clip_names(tmp_path / "blank.txt")
