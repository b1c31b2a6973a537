"""Names of outputs: of folders of videos among the inputs, of several inputs, and of what is written beside them."""

import os
from pathlib import Path

import pytest

from vsr_plugin.errors import MediaError
from vsr_plugin.restoration.outputs import (
    is_done,
    pair_outputs,
    preview_path,
    quality_csv_path,
    usual_name,
    with_videos_of_folders,
)

TOO_LONG = "x" * 300


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


def test_the_only_video_of_a_folder_goes_into_a_folder_or_a_video(tmp_path):
    films, out = tmp_path / "films", tmp_path / "out"
    films.mkdir()
    (films / "x.mkv").touch()
    inputs = with_videos_of_folders([str(films)])
    named = str(tmp_path / "named.mp4")
    assert pair_outputs(inputs, named, of_folder=True) == [(inputs[0], named)]
    with pytest.raises(MediaError, match=r"out: several inputs need a folder, and so do the videos of one; make it"):
        pair_outputs(inputs, str(out), of_folder=True)
    expected = [(inputs[0], str(out / "x.mkv"))]
    assert pair_outputs(inputs, f"{out}/", of_folder=True, make=False) == expected
    assert not out.exists()
    assert pair_outputs(inputs, f"{out}/", of_folder=True) == expected
    assert pair_outputs(inputs, str(out), of_folder=True) == expected
    assert pair_outputs(inputs, f"{out}/") == [(inputs[0], f"{out}/")]  # of PNG files


def test_what_becomes_a_folder_has_no_extension(tmp_path):
    for name in ("shot.001", "seq.mp4"):
        (tmp_path / name).mkdir()
    names = [usual_name(tmp_path / name) for name in ("shot.001", "seq.mp4", "photo.2019.png", "film.2019.ts")]
    assert names == ["shot_001", "seq_mp4", "photo_2019", "film.2019.mp4"]


def test_names_beside_an_output(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    assert preview_path("out/a.mp4") == Path("out/a_preview.png")
    assert preview_path("out/a.mp4", one_of_several=True) == Path("out/a.mp4_preview.png")
    for name, beside in ((".", tmp_path / "in"), ("..", tmp_path)):
        assert preview_path(name) == Path(f"{beside}_preview.png")
        assert quality_csv_path(name) == Path(f"{beside}_quality.csv")


@pytest.mark.parametrize(
    ("ask", "name"),
    [
        (lambda path: pair_outputs([path, "b.mp4"], "."), "loop.mp4"),
        (lambda path: pair_outputs([path, "b.mp4"], "."), TOO_LONG),
        (lambda path: pair_outputs(["b.mp4"], path), TOO_LONG),
        (is_done, TOO_LONG),
    ],
)
def test_what_the_system_has_against_a_path_is_one_line(tmp_path, ask, name):
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    with pytest.raises(MediaError, match=f"{name}: cannot be "):
        ask(str(tmp_path / name))


def test_a_folder_that_cannot_be_read_is_one_line(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(MediaError, match=r"cannot be read \(Permission denied\)"):
        with_videos_of_folders([str(tmp_path)])
