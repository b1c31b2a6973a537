import json

import numpy as np
import pytest
from PIL import Image

from vsr_plugin.errors import VSRError
from vsr_plugin.visualization.training_curve import plot_training, read_curves


@pytest.fixture
def write_log(tmp_path):
    def write(run: str, *entries: dict, tail: str = "") -> None:
        folder = tmp_path / run / "vis_data"
        folder.mkdir(parents=True)
        (folder / "scalars.json").write_text("".join(json.dumps(entry) + "\n" for entry in entries) + tail)

    return write


def train(step: int, loss: float) -> dict:
    return dict(lr=2e-4, data_time=0.1, loss=loss, loss_pix=loss, time=0.5, iter=step, memory=10, step=step)


def validation(step: int, psnr: float) -> dict:
    return {"REDSval4/PSNR": psnr, "REDSval4/PSNR_bicubic": 26.5, "data_time": 0.1, "time": 1.0, "step": step}


def test_curves_of_one_run(write_log, tmp_path):
    write_log("20261122_100000", train(100, 0.5), train(200, 0.25), validation(200, 27.0))
    assert read_curves(tmp_path) == {
        "loss": {100: 0.5, 200: 0.25},
        "REDSval4/PSNR": {200: 27.0},
        "REDSval4/PSNR_bicubic": {200: 26.5},
    }


def test_a_resumed_run_replaces_what_the_killed_one_lost(write_log, tmp_path):
    write_log("20261122_100000", train(100, 0.5), validation(100, 26.0), train(200, 0.4), train(250, 0.3))
    write_log("20261122_110000", train(200, 0.39), validation(200, 27.0))
    curves = read_curves(tmp_path)
    assert curves["loss"] == {100: 0.5, 200: 0.39}
    assert curves["REDSval4/PSNR"] == {100: 26.0, 200: 27.0}


def test_a_cut_off_line_and_an_empty_log(write_log, tmp_path):
    write_log("20261122_100000", train(100, 0.5), tail='{"loss": 0.4, "st')
    write_log("20261122_110000")
    assert read_curves(tmp_path)["loss"] == {100: 0.5}


def test_a_loss_that_is_not_a_number_is_drawn_around(write_log, tmp_path):
    write_log("20261122_100000", train(100, 0.5), train(200, float("nan")), train(300, 0.4))
    assert plot_training(tmp_path).is_file()


def test_the_picture_shows_psnr_and_a_dashed_baseline(write_log, tmp_path):
    write_log(
        "20261122_100000", *(entry for i in (100, 200, 300) for entry in (train(i, 1 / i), validation(i, 26 + i)))
    )
    path = plot_training(tmp_path, tmp_path / "curve.png")
    with Image.open(path) as picture:
        shown = np.asarray(picture.convert("RGB")).astype(int)
    # Two panels; matplotlib's first colour belongs to the PSNR, in the lower one.
    assert shown.shape[0] > 700
    blue = np.abs(shown - [31, 119, 180]).max(axis=-1) < 10
    assert blue[shown.shape[0] // 2 :].sum() > 300 > blue[: shown.shape[0] // 2].sum()
    assert [entry.name for entry in tmp_path.iterdir() if entry.suffix or entry.name.startswith(".")] == ["curve.png"]


def test_only_a_validation(write_log, tmp_path):
    write_log("20261122_100000", validation(100, 27.0))
    assert plot_training(tmp_path) == tmp_path / "training.png"


def test_no_log(tmp_path):
    with pytest.raises(VSRError, match="there is no log of a training in it"):
        plot_training(tmp_path)
