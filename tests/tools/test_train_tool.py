"""tools/train.py as a user starts it: whole runs, several processes, kills, and what it refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from experiment import write_experiment
from PIL import Image
from torch import Tensor

from vsr_plugin.engine.checkpoint_files import latest_checkpoint
from vsr_plugin.weights import load_net

TOOL = Path(__file__).parents[2] / "tools" / "train.py"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def start(*arguments: object, launcher: tuple[str, ...] = (), path: Path | None = None) -> subprocess.Popen:
    where = os.pathsep.join(filter(None, [str(path or ""), *sys.path]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": where, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, *launcher, TOOL, *map(str, arguments)],
        env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def state(path: Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def assert_same_weights(a: Path, b: Path) -> None:
    states = state(a), state(b)
    assert states[0].keys() == states[1].keys()
    for key, tensor in states[0].items():
        assert torch.equal(tensor, states[1][key]), key


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of 40 steps that nothing interrupted."""
    folder = tmp_path_factory.mktemp("straight")
    finish(start(write_experiment(folder), "--work-dir", folder / "run"))
    return folder


def test_a_run_leaves_checkpoints_logs_and_pictures(straight: Path) -> None:
    run = straight / "run"
    assert {path.name for path in run.glob("iter_*.pth")} == {f"iter_{i}.pth" for i in range(5, 41, 5)}
    assert len(list(run.glob("best_val_PSNR_iter_*.pth"))) == 1
    assert not list(run.rglob("*.partial*"))
    assert sorted(path.name for path in (run / "pictures").iterdir()) == [
        "iter_000020_clip3.png",
        "iter_000040_clip3.png",
    ]
    with Image.open(run / "training.png") as curve:
        assert curve.width > 300
    (scalars,) = run.glob("*/vis_data/scalars.json")
    entries = [json.loads(line) for line in scalars.read_text().splitlines()]
    steps = [entry for entry in entries if "loss" in entry]
    assert [entry["step"] for entry in steps] == list(range(1, 41))
    assert {"lr", "data_time", "time", "grad_norm", "skipped_steps"} <= steps[0].keys()
    assert [entry["step"] for entry in entries if "val/PSNR" in entry] == [20, 40]
    net = load_net(run / "iter_40.pth")
    assert net(torch.rand(1, 2, 3, 8, 8)).shape == (1, 2, 3, 32, 32)


def test_a_run_killed_at_any_moment_resumes_to_the_same_weights(straight: Path, tmp_path: Path) -> None:
    config, run = straight / "experiment.py", tmp_path / "run"
    moments = np.random.default_rng().uniform(0, 0.6, size=2)
    for resume, moment in zip(((), ("--resume",)), moments, strict=True):
        before = latest_checkpoint(run)
        process = start(config, "--work-dir", run, *resume)
        while latest_checkpoint(run) == before and process.poll() is None:
            time.sleep(0.02)
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    last = latest_checkpoint(run).name
    output = finish(start(config, "--work-dir", run, "--resume"))
    assert last in output or last == "iter_40.pth"
    assert_same_weights(run / "iter_40.pth", straight / "run" / "iter_40.pth")


def test_killed_while_a_checkpoint_is_written(straight: Path, tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text(
        "import os, signal\n"
        "from vsr_plugin.engine import checkpoint_files\n"
        "written = []\n"
        "def fsync(number):\n"
        "    written.append(number)\n"
        "    if len(written) == 3:\n"
        "        os.ftruncate(number, 1000)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "checkpoint_files.os.fsync = fsync\n"
    )
    config = write_experiment(tmp_path, imports=("deadly",))
    process = start(config, "--work-dir", tmp_path / "run", path=tmp_path)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == -signal.SIGKILL, output
    assert (tmp_path / "run" / ".iter_15.pth.partial").stat().st_size == 1000
    assert latest_checkpoint(tmp_path / "run").name == "iter_10.pth"
    output = finish(start(straight / "experiment.py", "--work-dir", tmp_path / "run", "--resume"))
    assert "iter_10.pth" in output
    assert_same_weights(tmp_path / "run" / "iter_40.pth", straight / "run" / "iter_40.pth")


def test_two_processes_unfreeze_validate_and_finish(straight: Path, tmp_path: Path) -> None:
    output = finish(start(straight / "experiment.py", "--work-dir", tmp_path, launcher=TORCHRUN))
    assert "generator.spynet: trained from step 15 on" in output
    (scalars,) = tmp_path.glob("*/vis_data/scalars.json")
    entries = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert [entry["step"] for entry in entries if "val/PSNR" in entry] == [20, 40]
    # The same samples in the same batches: one process and two take the same way, but for rounding.
    (alone,) = (straight / "run").glob("*/vis_data/scalars.json")
    losses = [
        [e["loss"] for e in map(json.loads, file.read_text().splitlines()) if "loss" in e] for file in (scalars, alone)
    ]
    assert len(losses[0]) == 40
    own, both = (np.array(values) for values in losses)
    # A process logs the loss of its own share.
    assert np.corrcoef(own, both)[0, 1] > 0.5
    trained = [state(folder / "iter_40.pth") for folder in (tmp_path, straight / "run")]
    for key, tensor in trained[1].items():
        torch.testing.assert_close(trained[0][key], tensor, rtol=0, atol=2e-3, msg=key)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "gpu_3gb"], r"preset 'gpu_3gb': no such preset or file; there are gpu_12gb, gpu_24gb, gpu_8gb"),
        (["--resume", "no.pth"], r"no.pth: no such checkpoint"),
        (["--cfg-options", "total_batch_size=2", "train_cfg.micro_batch_size=3", "model.generator.num_bloks=3"],
         r"cannot be built: .*num_bloks"),
        (["--cfg-options", "train_dataloader.dataset.gt_root=nowhere"], r"nowhere"),
        (["--cfg-options", "train_dataloader.dataset.num_input_frames=7"], r"no clip has 7 frames"),
        (["--cfg-options", "train_dataloader.dataset.gt_size=64"], r"clip clip0 .*smaller than gt_size=64"),
        (["--cfg-options", "train_dataloader.dataset.scale=3"], r"scale"),
        (["--cfg-options", "model.type=NoSuchModel"], r"cannot be built: NoSuchModel is not in the"),
        (["--cfg-options", "optim_wrapper.precision=int8"], r"precision 'int8' does not exist"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_before_the_first_step(run_tool, tmp_path: Path, arguments: list, message: str) -> None:
    config = write_experiment(tmp_path)
    status, _, err = run_tool("train", config, "--work-dir", tmp_path / "run", *arguments)
    assert status == 1
    line = err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert re.search(message, line), line
    assert not list((tmp_path / "run").glob("*.pth"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to compute on")
def test_a_precision_that_the_processor_only_imitates_is_refused(run_tool, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("vsr_plugin.inference.acceleration.precision._cpu_computes", lambda dtype: False)
    status, _, err = run_tool("train", write_experiment(tmp_path), "--work-dir", tmp_path / "run", "--amp")
    assert status == 1
    assert err.strip().splitlines()[-1] == (
        "error: this CPU has no arithmetic for precision 'bf16'; use fp32: leave --amp out, or add --cfg-options "
        "optim_wrapper.precision=fp32"
    )


def test_an_earlier_run_is_not_overwritten(run_tool, straight: Path) -> None:
    before = (straight / "run" / "iter_40.pth").stat().st_mtime_ns
    status, _, err = run_tool("train", straight / "experiment.py", "--work-dir", straight / "run")
    assert status == 1
    assert "holds checkpoints of an earlier run (iter_40.pth); go on with it by --resume" in err
    assert (straight / "run" / "iter_40.pth").stat().st_mtime_ns == before


def test_a_cut_off_checkpoint_is_refused(run_tool, straight: Path, tmp_path: Path) -> None:
    cut = tmp_path / "iter_9.pth"
    cut.write_bytes((straight / "run" / "iter_40.pth").read_bytes()[:-100])
    arguments = (straight / "experiment.py", "--work-dir", tmp_path, "--resume")
    status, _, err = run_tool("train", *arguments, cut)
    assert status == 1
    assert f"{cut}: the checkpoint is cut off; take an earlier one" in err
    assert latest_checkpoint(tmp_path) is None


def test_a_batch_that_cannot_be_shared_out(run_tool, straight: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    status, _, err = run_tool("train", straight / "experiment.py", "--work-dir", tmp_path)
    assert status == 1
    assert "total_batch_size 2 cannot be shared out to 3 processes" in err
    assert "--cfg-options total_batch_size=3" in err
