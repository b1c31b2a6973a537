"""tools/onnx_restore.py restores clips without PyTorch as restore_frames does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vsr_plugin.inference import restore_frames

TOOL = Path(__file__).parents[2] / "tools" / "onnx_restore.py"


def pictures(t: int, h: int, w: int) -> list[np.ndarray]:
    from vsr_plugin.export.verify import moving_pattern

    frames = (moving_pattern(t, h, w)[0] * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return list(frames.numpy())


def assert_within_rounding(found: list[np.ndarray], net: nn.Module, frames: list[np.ndarray]) -> None:
    expected = list(restore_frames(net, frames))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        difference = np.abs(a.astype(int) - b)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize(("t", "h", "w"), [(1, 18, 23), (5, 3, 30), (15, 13, 9)])
@pytest.mark.parametrize("form", ["whole", "steps"])
def test_frames_equal_those_of_restore_frames(form, t, h, w, small, exported, load_tool) -> None:
    frames = pictures(t, h, w)
    model = load_tool("onnx_restore").load_model(exported[form], 1)
    assert_within_rounding(list(model.restore(frames)), small[0], frames)


def run(*arguments: object) -> subprocess.CompletedProcess:
    # Isolated, with what must not be imported made impossible to import.
    code = (
        "import runpy, sys\n"
        "for name in ('torch', 'vsr_plugin', 'mmengine', 'cv2'): sys.modules[name] = None\n"
        f"sys.argv = ['onnx_restore.py', *{[str(argument) for argument in arguments]!r}]\n"
        f"runpy.run_path({str(TOOL)!r}, run_name='__main__')\n"
    )
    return subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=120)


def test_a_folder_and_a_video_without_pytorch(small, exported, media, tmp_path: Path) -> None:
    frames = pictures(11, 16, 24)
    (tmp_path / "in").mkdir()
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "in" / f"{i}.png")
    done = run(exported["steps"], tmp_path / "in", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = [np.array(Image.open(path)) for path in sorted((tmp_path / "out").iterdir())]
    assert_within_rounding(found, small[0], frames)

    media.make_clip(tmp_path / "in.mp4", pictures=frames, n=11, size=(16, 24))
    done = run(exported["whole"], tmp_path / "in.mp4", tmp_path / "out.mp4")
    assert done.returncode == 0, done.stderr
    restored = media.probe(tmp_path / "out.mp4")
    assert restored.size == (64, 96)
    assert len(restored.pts) == 11
    assert restored.rate == 25
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "in.mp4", "out", "out.mp4"]


def test_bad_input_is_one_line_and_leaves_nothing(exported, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "bad.onnx").write_text("no model")
    out = tmp_path / "out.mp4"
    for arguments, message in (
        ((tmp_path / "no.onnx", tmp_path / "empty", out), "no.onnx: no such model"),
        ((tmp_path / "bad.onnx", tmp_path / "empty", out), "bad.onnx: onnxruntime cannot open it"),
        ((tmp_path / "empty", tmp_path / "empty", out), "not a folder of export_onnx.py --parts; missing: backward"),
        ((exported["steps"] / "flow.onnx", tmp_path / "empty", out), "not a whole-sequence model"),
        ((exported["whole"], tmp_path / "empty", out), "empty: holds no frames"),
        ((exported["whole"], tmp_path / "text.mp4", out), "text.mp4: cannot be read as a video"),
        ((exported["whole"], tmp_path / "no.mp4", out), "no.mp4: no such video or folder"),
    ):
        done = run(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        assert message in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.onnx", "empty", "text.mp4"]
