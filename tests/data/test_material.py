"""Clips made of photographs and videos."""

import cv2
import numpy as np
import pytest

from vsr_plugin.cli.prepare import main
from vsr_plugin.data.preparation import material
from vsr_plugin.data.preparation.material import make_material, move_photograph
from vsr_plugin.data.sample_clips import sample_clip
from vsr_plugin.errors import DataError


@pytest.fixture(scope="module")
def picture():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return cv2.resize(coarse, (960, 620), interpolation=cv2.INTER_CUBIC)


def test_photographs_move_smoothly(picture):
    frames = np.stack(list(move_photograph(picture, np.random.default_rng(2), t=6)))
    assert frames.shape == (6, *material.PHOTO_CLIP, 3)
    assert frames.dtype == np.uint8
    steps = np.abs(np.diff(frames.astype(float), axis=0)).mean(axis=(1, 2, 3))
    assert 0.5 < steps.max() < 40  # something moves, and nothing jumps
    np.testing.assert_array_equal(frames[3], list(move_photograph(picture, np.random.default_rng(2), t=6))[3])


def test_command_makes_clips_once(picture, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(material, "PHOTO_FRAMES", 3)
    monkeypatch.setattr(material, "_MOST_FRAMES", 4)
    root, out = tmp_path / "root", tmp_path / "out"
    (root / "deep").mkdir(parents=True)
    cv2.imwrite(str(root / "deep" / "one.png"), picture)
    (root / "bikes.mp4").symlink_to(sample_clip("bikes"))
    main(["material", str(root), "--out", str(out), "--clips-per-photo", "2"])
    assert "done: 3 clips" in capsys.readouterr().out
    made = {path.stem: np.load(path) for path in out.iterdir()}
    assert {name: clip.shape for name, clip in made.items()} == {
        "deep_one_0": (3, 144, 208, 3),
        "deep_one_1": (3, 144, 208, 3),
        "bikes_by_2": (4, 136, 320, 3),
    }
    assert not np.array_equal(made["deep_one_0"], made["deep_one_1"])
    (out / "deep_one_1.npy").unlink()
    before = (out / "bikes_by_2.npy").stat().st_mtime_ns
    make_material(root, out, clips_per_photo=2)
    assert (out / "bikes_by_2.npy").stat().st_mtime_ns == before
    np.testing.assert_array_equal(np.load(out / "deep_one_1.npy"), made["deep_one_1"])


def test_names_that_photographs_and_videos_share(picture, tmp_path):
    (tmp_path / "bikes").mkdir()
    for name in ("bikes/one.png", "two.png", "two.jpg"):
        cv2.imwrite(str(tmp_path / name), picture)
    (tmp_path / "bikes.mp4").symlink_to(sample_clip("bikes"))
    (tmp_path / ".in.mp4.job").mkdir()
    (tmp_path / ".in.mp4.job" / "000.mkv").write_bytes(b"a segment")
    photos, (video,) = material.find_material(tmp_path)
    assert (len(photos), video.name) == (3, "bikes")
    (tmp_path / "bikes").rename(tmp_path / ".hidden")
    with pytest.raises(DataError, match="two files would become clip two_0; rename one"):
        make_material(tmp_path, tmp_path / "out", clips_per_photo=1)


def test_nothing_to_make(tmp_path):
    with pytest.raises(DataError, match="neither photographs nor videos"):
        make_material(tmp_path, tmp_path / "out")
    with pytest.raises(DataError, match="no such folder"):
        make_material(tmp_path / "absent", tmp_path / "out")


def test_small_photographs_are_named(tmp_path):
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((100, 900, 3), np.uint8))
    with pytest.raises(DataError, match=r"small.png.* is 900x100"):
        make_material(tmp_path, tmp_path / "out")
