"""What `tools/restore_video.py` refuses: one line that says what is wrong and what to do, and nothing is lost."""

import os
import pickle
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vsr_plugin.models import SPyNet


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scale", "0"], "argument --scale: invalid factor (above 0, such as 2 or 1.5) value: '0'"),
        (["--scale", "nan"], "value: 'nan'"),
        (["--scale", "inf"], "value: 'inf'"),
        (["--height", "0"], "argument --height: invalid number (1 or more) value: '0'"),
        (["--height", "72", "--scale", "2"], "not allowed with argument"),
        (["--fps", "0"], "argument --fps: invalid rate (above 0, such as 25 or 30000/1001) value: '0'"),
        (["--fps", "1/0"], "value: '1/0'"),
        (["--fps=-3"], "value: '-3'"),
    ],
    ids=str,
)
def test_numbers_that_the_tool_refuses(restore, images, tmp_path, options, message):
    assert message in restore(images, tmp_path / "out", *options, status=2)


def test_sizes_that_are_too_large(restore, images, tmp_path):
    error = restore(images, tmp_path / "out.mp4", "--scale", 1e6, status=1)
    assert error == ("error: scale 1e+06 makes a side of more than 65535 pixels of frames of 14x10; choose less\n")
    error = restore(images, tmp_path / "out.mp4", "--height", 20000, "--fps", 25, status=1)
    assert "out.mp4: cannot be written as libx264 yuv420p 28000x20000" in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob(".out*"))


class Bomb:
    def __reduce__(self):
        return os.mkdir, (str(Path(os.environ["BOMB"])),)


def bad_weights(kind: str, folder: Path, weights: Path) -> Path | str:
    path = folder / f"{kind}.pth"
    if kind == "unknown name":
        return "basicvsr_reds5"
    if kind == "truncated":
        path.write_bytes(weights.read_bytes()[:-2000])
    elif kind == "code":
        path.write_bytes(pickle.dumps(dict(state_dict=Bomb())))
    elif kind == "another model":
        torch.save({"layer1.0.conv1.weight": torch.zeros(3)}, path)
    elif kind == "part":
        torch.save(SPyNet().state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("unknown name", "no such weights file, and no published name; the names are basicvsr_reds4"),
        ("truncated", "cut off"),
        ("code", "refused"),
        ("another model", "weights of another model"),
        ("part", "is a part and cannot restore a video"),
    ],
)
def test_bad_weights(restore, weights, images, tmp_path, monkeypatch, kind, message):
    monkeypatch.setenv("BOMB", str(tmp_path / "bomb"))
    error = restore(images, tmp_path / "out", "--weights", bad_weights(kind, tmp_path, weights), status=1)
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "bomb").exists()


@pytest.mark.parametrize(
    ("output", "options"),
    [
        ("loop.mp4", []),
        ("x" * 300, []),
        ("x" * 300 + ".mp4", ["--preview"]),
        ("out.mp4", ["--comparison", "loop.png"]),
        ("out.mp4", ["--comparison", "x" * 300 + ".png"]),
    ],
)
def test_paths_that_the_system_refuses(restore, images, tmp_path, monkeypatch, output, options):
    monkeypatch.chdir(tmp_path)
    for name in ("loop.mp4", "loop.png"):
        (tmp_path / name).symlink_to(name)
    error = restore(images, output, *options, status=1)
    assert re.match(r"error: .*(Symlink loop|File name too long).*; choose another name or place\n$", error)
    assert {path.name for path in tmp_path.iterdir()} == {"frames", "loop.mp4", "loop.png"}


def bad_input(kind: str, folder: Path) -> Path:
    path = folder / kind
    if kind == "text.mp4":
        path.write_text("not a video")
    elif kind in ("empty", "mixed"):
        path.mkdir()
    if kind == "mixed":
        for i in (1, 2):
            cv2.imwrite(str(path / f"{i}.png"), np.zeros((8 * i, 8, 3), np.uint8))
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing.mp4", "no such file or folder"),
        ("empty", "empty: "),
        ("text.mp4", "text.mp4: "),
        ("mixed", "2.png"),
    ],
)
def test_bad_input(restore, tmp_path, kind, message):
    error = restore(bad_input(kind, tmp_path), tmp_path / "out.mp4", status=1)
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("output", "message"),
    [("nowhere/out.mp4", "does not exist"), ("out.xyz", "cannot write .xyz files"), ("frames", "is the input")],
)
def test_bad_output(restore, images, tmp_path, output, message):
    assert message in restore(images, tmp_path / output, status=1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("picture.xyz", "pictures are PNG files"),
        ("frames/f2.png", "is the input as well"),
        ("out/f2.png", "is in the output, where it could replace a frame"),
    ],
)
def test_bad_comparison(restore, images, tmp_path, name, message):
    before = {path: path.read_bytes() for path in images.iterdir()}
    error = restore(images, tmp_path / "out", "--comparison", tmp_path / name, "--overwrite", status=1)
    assert error.startswith(f"error: {tmp_path / name}: {message}")
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in images.iterdir()} == before
    assert list(tmp_path.iterdir()) == [images]


def test_ground_truth_that_does_not_fit(restore, images, tmp_path):
    assert "so it must be 56x40" in restore(images, tmp_path / "out", "--gt", images, status=1)
    short = tmp_path / "short"
    short.mkdir()
    cv2.imwrite(str(short / "0.png"), np.zeros((40, 56, 3), np.uint8))
    error = restore(images, tmp_path / "out", "--gt", short, status=1)
    assert "short: ground truth ends before frame 1; it must have as many frames as the input" in error
    assert error.count("\n") == 1  # no line of what is restored: it is known before
    assert {path.name for path in tmp_path.iterdir()} == {"frames", "short"}
    assert "1 frames" in restore(images, tmp_path / "out", "--gt", short, "--num-frames", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--memory-budget", "1M"], "a memory budget of 1 MiB is too small for frames of 14x10; give at least"),
        (["--tile", "5"], "tile 5 is smaller than the overlap that it needs; use"),
        (
            ["--keyframe-stride", "3"],
            r"--keyframe-stride: .*small.pth are weights of BasicVSRNet, which has no keyframes",
        ),
    ],
)
def test_settings_that_do_not_fit(restore, images, tmp_path, arguments, message):
    error = restore(images, tmp_path / "out", *arguments, status=1)
    assert re.match(f"error: {message}", error)
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == [images]


def test_no_size_of_memory(restore, images, tmp_path):
    assert "argument --memory-budget: invalid" in restore(images, tmp_path / "out", "--memory-budget", "inf", status=2)


def test_a_border_that_leaves_too_little_to_compare(restore, media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mkv", n=2)
    media.copy(clip, tmp_path / "gt.mkv", scale=4)
    compare = (clip, tmp_path / "out.mkv", "--gt", tmp_path / "gt.mkv", "--crop-border")
    error = restore(*compare, 59, status=1)
    assert error == (
        "error: crop border 59: leaves less than 11x11 pixels, which SSIM needs, of 192x128; choose a smaller "
        "--crop-border or larger frames\n"
    )
    assert "59" not in restore(*compare, 58)


def test_a_device_that_is_not_here(restore, images, tmp_path):
    assert "cannot be used here" in restore(images, tmp_path / "out", "--device", "cuda:99", status=1)


def test_windows_are_not_asked_for_in_vain(restore, images, tmp_path):
    error = restore(images, tmp_path / "out", "--window", 5, status=1)
    assert error == "error: --window: it is for --strategy window, which it does not choose by itself\n"
    report = restore(images, tmp_path / "out", "--strategy", "window", "--window", 2, "--overlap", 0)
    assert "note: restored in windows (--window, --overlap)" in report
