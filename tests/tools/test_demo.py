import json

import pytest
from PIL import Image


def test_demo_on_a_small_clip(run_tool, tmp_path, real_clip):
    real_clip("carphone_pristine")
    status, out, err = run_tool(
        "demo",
        "--clip",
        "carphone_pristine",
        "--start",
        30,
        "--num-frames",
        11,
        "--out-dir",
        tmp_path,
        "--device",
        "cpu",
    )
    assert status == 0, err
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    # Close to the reference figures of the same frames (25.58 and 30.80 dB), which another decoder read.
    assert metrics["bicubic_psnr"] == pytest.approx(25.58, abs=0.1)
    assert metrics["psnr"] == pytest.approx(30.85, abs=0.1)
    assert f"{metrics['psnr']:.2f} dB" in out
    assert Image.open(tmp_path / "comparison.png").size[0] == 1280
    assert (tmp_path / "restored.mp4").stat().st_size > 0
