"""The study and picture tools as the shell calls them."""

import numpy as np
import pytest
import torch
from PIL import Image

from vsr_plugin.models import BasicVSRPlusPlusNet, IconVSRNet
from vsr_plugin.weights import locate_published


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames") / "pan"
    folder.mkdir()
    wide = np.random.default_rng(0).integers(0, 256, (8, 20, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    for i in range(8):
        Image.fromarray(wide[:, i : i + 48]).save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture(scope="module")
def iconvsr(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "iconvsr.pth"
    torch.save(IconVSRNet(mid_channels=4, num_blocks=1, spynet_width=4).state_dict(), path)
    return path


def study(run_tool, tmp_path, *arguments):
    return run_tool("study", *arguments, "--out", tmp_path / "out", "--device", "cpu")


def test_a_study_prints_its_table_and_goes_on_where_it_was(run_tool, tmp_path, frames, weights):
    arguments = ("segments", "--clips", frames, "--start", 0, "--frames", 4, "--weights", weights)
    status, out, _ = study(run_tool, tmp_path, *arguments)
    assert status == 0
    assert "| pan | 4 |" in out.replace(str(frames), "pan")
    assert "protocol: PSNR: Y channel" in out
    assert "measured by an earlier run" not in out
    assert (tmp_path / "out" / "segments" / "segments.png").is_file()
    status, again, _ = study(run_tool, tmp_path, *arguments)
    assert status == 0
    assert "note: 3 of the parts were measured by an earlier run" in again


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("colours",), "error: colours: no such study; there are segments, keyframes, complexity"),
        (("segments", "--clips", "nowhere.mp4"), "error: nowhere.mp4: no such video or folder, and no sample clip"),
        (("segments", "--weights", "nothing"), "error: nothing: no such weights file"),
        (("segments", "--start", -1), "error: --start -1: frames are numbered from 0"),
        (("segments", "--size", "3x8"), "error: --size 3x8: leaves no LR pixel; use 4x4 or more"),
        (
            ("segments", "alignment", "coupling", "--weights", "mine.pth"),
            "error: --weights mine.pth: is for segments and keyframes, and not for alignment, coupling; leave",
        ),
        (("complexity", "--clips", "a", "b"), "error: --clips a b: is for segments and keyframes and "),
        (("segments", "complexity", "--steps", "9"), "error: --steps 9: is for keyframes and "),
        (("alignment", "--clips", "bikes"), "error: bikes: is trained on and validated on"),
    ],
)
def test_study_errors_are_one_line(run_tool, tmp_path, arguments, words):
    status, _, error = study(run_tool, tmp_path, *arguments)
    assert status == 1
    assert error.startswith(words)
    assert len(error.splitlines()) == 1


@pytest.mark.slow
def test_the_paper_size_without_reds_is_one_line(run_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, error = study(run_tool, tmp_path, "propagation", "--paper-size", "--seeds", 1)
    assert status == 1
    assert error.splitlines()[-1].startswith(
        "error: training failed with status 1: data/REDS/train_sharp: no such folder; check the path (log: "
    )


@pytest.mark.parametrize("kind", ["comparison", "drift", "error", "flow", "profile"])
def test_pictures_of_a_clip(run_tool, tmp_path, frames, weights, kind):
    target = tmp_path / f"{kind}.png"
    arguments = (kind, frames, target, "--start", 0, "--frames", 4, "--weights", weights, "--device", "cpu")
    status, out, error = run_tool("picture", *arguments)
    assert status == 0, error
    assert f"look at {target}" in out
    with Image.open(target) as picture:
        assert picture.width > 600


def test_a_refill_picture(run_tool, tmp_path, frames, iconvsr):
    target = tmp_path / "refill.png"
    arguments = ("refill", frames, target, "--start", 0, "--frames", 8, "--lr", "--weights", iconvsr)
    status, _, error = run_tool("picture", *arguments, "--device", "cpu")
    assert status == 0, error
    assert target.is_file()


def test_a_refill_picture_wants_a_network_with_refill(run_tool, tmp_path, frames, weights):
    arguments = ("refill", frames, tmp_path / "a.png", "--start", 0, "--frames", 8, "--lr", "--device", "cpu")
    status, _, error = run_tool("picture", *arguments, "--weights", weights)
    assert status == 1
    assert "weights of BasicVSRNet, which has no refill" in error
    if locate_published()["iconvsr_reds4"] is None:
        status, _, error = run_tool("picture", *arguments)
        assert status == 1
        assert error.startswith("error: the refill picture is drawn with iconvsr_reds4, which is not on this machine; ")


def test_pictures_of_weights_that_restore_at_the_size(run_tool, tmp_path, frames):
    torch.manual_seed(0)
    net = BasicVSRPlusPlusNet(8, 1, is_low_res_input=False, spynet_width=4)
    torch.save(net.state_dict(), tmp_path / "x1.pth")
    arguments = (frames, tmp_path / "a.png", "--start", 0, "--frames", 4, "--weights", tmp_path / "x1.pth")
    for kind in ("alignment", "comparison"):
        status, _, error = run_tool("picture", kind, *arguments, "--device", "cpu", "--overwrite")
        assert status == 0, error
    status, _, error = run_tool("picture", "error", *arguments, "--device", "cpu", "--overwrite")
    assert status == 1
    assert "an error map needs ground truth, which there is none of with --lr, or if nothing is enlarged" in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sketch", "bikes", "a.png"), "error: sketch: no such picture; there are alignment, comparison, drift, error"),
        (("flow", "bikes", "a.jpg"), "error: a.jpg: pictures are PNG files"),
        (("flow", "bikes", "a.png", "--frame", 99), "error: --frame 99: must be from 0 to 14"),
        (("flow", "bikes", "a.png", "--frame", 0), "error: --frame 0: the flows to both neighbours are drawn"),
        (("error", "bikes", "a.png", "--lr"), "error: an error map needs ground truth"),
        (("comparison", "bikes", "a.png", "--size", "3x8"), "error: --size 3x8: leaves no LR pixel; use 4x4 or more"),
    ],
)
def test_picture_errors_are_one_line(run_tool, tmp_path, monkeypatch, real_clip, arguments, words):
    real_clip("bikes")
    monkeypatch.chdir(tmp_path)
    status, _, error = run_tool("picture", *arguments)
    assert status == 1
    assert error.startswith(words)
    assert list(tmp_path.iterdir()) == []
