"""What the page may read and write."""

from __future__ import annotations

import pytest

from vsr_plugin.app.roots import Roots
from vsr_plugin.errors import MediaError, VSRError


@pytest.fixture
def roots(tmp_path):
    """Two folders, and beside them what is nobody's business."""
    for name in ("films/old", "films/frames", "films/.hidden", "more", "secret"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("films/b10.mp4", "films/b9.MKV", "films/old/a.mpg", "films/notes.txt", "more/c.mov", "secret/key.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "films/frames/1.png").touch()
    (tmp_path / "films/.hidden/d.mp4").touch()
    (tmp_path / "films/link.mp4").symlink_to(tmp_path / "secret/key.mp4")
    (tmp_path / "films/away").symlink_to(tmp_path / "secret")
    (tmp_path / "films/within.mp4").symlink_to(tmp_path / "films/b10.mp4")
    return Roots([tmp_path / "films", tmp_path / "more"])


def test_videos_and_folders_of_images_are_listed(roots, tmp_path) -> None:
    assert sorted(roots.inputs()) == sorted([str(tmp_path / "more/c.mov"), "b9.MKV", "b10.mp4", "frames", "old/a.mpg"])


def test_names_are_found_again(roots, tmp_path) -> None:
    assert [roots.resolve(name).exists() for name in roots.inputs()] == [True] * 5
    assert roots.resolve("old/a.mpg") == tmp_path / "films/old/a.mpg"
    assert roots.resolve("old/../b10.mp4") == roots.resolve("within.mp4") == tmp_path / "films/b10.mp4"
    assert roots.resolve("new/out.mp4") == tmp_path / "films/new/out.mp4"


@pytest.mark.parametrize(
    "name",
    [
        "../secret/key.mp4",
        "old/../../secret/key.mp4",
        "/etc/passwd",
        "link.mp4",
        "away/key.mp4",
        "away/new.mp4",
        "~/key.mp4/../../../secret/key.mp4",
    ],
)
def test_what_is_outside_is_refused_in_one_line(roots, name) -> None:
    with pytest.raises(MediaError, match="is outside the folders of this page") as refusal:
        roots.resolve(name)
    assert str(refusal.value).startswith(name)
    assert "\n" not in str(refusal.value)


def test_an_encoded_name_is_a_name_like_others(roots) -> None:
    assert not roots.resolve("%2e%2e/secret/key.mp4").exists()
    assert not roots.resolve("old/%2e%2e%2f%2e%2e%2fsecret%2fkey.mp4").exists()


@pytest.mark.parametrize("name", [".hidden/d.mp4", ".vsr_app/queue.json"])
def test_what_is_hidden_is_refused(roots, name) -> None:
    with pytest.raises(MediaError, match="is hidden"):
        roots.resolve(name)


def test_what_is_no_name_is_refused(roots, tmp_path) -> None:
    (tmp_path / "films/loop").symlink_to(tmp_path / "films/loop")
    with pytest.raises(MediaError, match="is no name of a file"):
        roots.resolve("a\0b.mp4")
    with pytest.raises(MediaError, match="is no name of a file"):
        roots.resolve("loop/a")


def test_new_files_get_names_that_are_free(roots, tmp_path) -> None:
    assert roots.free_name("b10.mp4") == tmp_path / "films/b10_2.mp4"
    assert roots.free_name("../../x/.new.mp4") == tmp_path / "films/new.mp4"


def test_a_root_that_is_no_folder_is_refused(tmp_path) -> None:
    with pytest.raises(VSRError, match="is no folder"):
        Roots([tmp_path / "none"])


def test_a_name_that_is_too_long_is_one_line(roots) -> None:
    with pytest.raises(MediaError, match="is no name of a file; choose another one"):
        roots.resolve("x" * 300)
