"""Folders of videos among the inputs of a restoration."""

import os

from vsr_plugin.restoration.outputs import with_videos_of_folders


def test_a_folder_of_videos_stands_for_them(tmp_path):
    films, mixed, empty = (tmp_path / name for name in ("films", "mixed", "empty"))
    for folder in (films, mixed, empty):
        folder.mkdir()
    for name in ("10.mp4", "2.MKV", ".hidden.mp4", "notes.txt"):
        (films / name).touch()
    for name in ("a.mp4", "000.png"):
        (mixed / name).touch()
    single = str(tmp_path / "single.mp4")
    found = with_videos_of_folders([str(films), single, str(mixed), str(empty), "no such folder"])
    expected = [os.path.join(films, "2.MKV"), os.path.join(films, "10.mp4"), single, str(mixed), str(empty)]
    assert found == [*expected, "no such folder"]
