"""tools/train.py as a user starts it: whole runs, several processes, kills, and what it refuses."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from experiment import write_experiment
from forked_tools import TOOLS, ForkedTool, free_port, in_two_processes
from mmengine.config import Config
from PIL import Image
from torch import Tensor

from vsr_plugin.cli import train
from vsr_plugin.ops.device import FreeCores
from vsr_plugin.training.checkpoint_files import latest_checkpoint, training_meta
from vsr_plugin.weights import load_net

pytestmark = pytest.mark.usefixtures("unformatted_configs")

TOOL = TOOLS / "train.py"


def start(*arguments: object, path: Path | None = None) -> ForkedTool:
    return ForkedTool("train", *arguments, path=path)


def finish(process: ForkedTool) -> str:
    status, out, err = process.wait()
    assert status == 0, out + err
    return out + err


def run_command(*words: object) -> subprocess.Popen:
    """Start a command as a shell would."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "PYTHON": sys.executable, "MASTER_PORT": str(free_port())}
    return subprocess.Popen(
        list(map(str, words)), env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def state(path: Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def assert_same_weights(a: Path, b: Path) -> None:
    states = state(a), state(b)
    assert states[0].keys() == states[1].keys()
    for key, tensor in states[0].items():
        assert torch.equal(tensor, states[1][key]), key


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of 20 steps that nothing interrupted."""
    folder = tmp_path_factory.mktemp("straight")
    finish(start(write_experiment(folder), "--work-dir", folder / "run"))
    return folder


def test_a_run_leaves_checkpoints_logs_and_pictures(straight: Path) -> None:
    run = straight / "run"
    assert {path.name for path in run.glob("iter_*.pth")} == {f"iter_{i}.pth" for i in range(5, 21, 5)}
    assert len(list(run.glob("best_val_PSNR_iter_*.pth"))) == 1
    assert not list(run.rglob("*.partial*"))
    assert sorted(path.name for path in (run / "pictures").iterdir()) == [
        "iter_000010_clip3.png",
        "iter_000020_clip3.png",
    ]
    with Image.open(run / "training.png") as curve:
        assert curve.width > 300
    (scalars,) = run.glob("*/vis_data/scalars.json")
    entries = [json.loads(line) for line in scalars.read_text().splitlines()]
    steps = [entry for entry in entries if "loss" in entry]
    assert [entry["step"] for entry in steps] == list(range(1, 21))
    assert {"lr", "data_time", "time", "grad_norm", "skipped_steps"} <= steps[0].keys()
    assert [entry["step"] for entry in entries if "val/PSNR" in entry] == [10, 20]
    net = load_net(run / "iter_20.pth")
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
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    last = latest_checkpoint(run).name
    output = finish(start(config, "--work-dir", run, "--resume"))
    assert last in output or last == "iter_20.pth"
    assert_same_weights(run / "iter_20.pth", straight / "run" / "iter_20.pth")


def test_killed_while_a_checkpoint_is_written(straight: Path, tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text(
        "import os, signal\n"
        "from vsr_plugin.training import checkpoint_files\n"
        "written = []\n"
        "def fsync(number):\n"
        "    written.append(number)\n"
        "    if len(written) == 2:\n"
        "        os.ftruncate(number, 1000)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "checkpoint_files.os.fsync = fsync\n"
    )
    config = write_experiment(tmp_path, imports=("deadly",))
    process = start(config, "--work-dir", tmp_path / "run", path=tmp_path)
    status, *output = process.wait()
    assert status == -signal.SIGKILL, output
    assert (tmp_path / "run" / ".iter_10.pth.partial").stat().st_size == 1000
    assert latest_checkpoint(tmp_path / "run").name == "iter_5.pth"
    output = finish(start(straight / "experiment.py", "--work-dir", tmp_path / "run", "--resume"))
    assert "iter_5.pth" in output
    assert_same_weights(tmp_path / "run" / "iter_20.pth", straight / "run" / "iter_20.pth")


def test_two_processes_unfreeze_validate_and_finish(straight: Path, tmp_path: Path) -> None:
    output, _ = map(finish, in_two_processes("train", straight / "experiment.py", "--work-dir", tmp_path))
    assert "generator.spynet: trained from step 7 on" in output
    (scalars,) = tmp_path.glob("*/vis_data/scalars.json")
    entries = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert [entry["step"] for entry in entries if "val/PSNR" in entry] == [10, 20]
    # The same samples in the same batches: one process and two take the same way, but for rounding.
    (alone,) = (straight / "run").glob("*/vis_data/scalars.json")
    losses = [
        [e["loss"] for e in map(json.loads, file.read_text().splitlines()) if "loss" in e] for file in (scalars, alone)
    ]
    assert len(losses[0]) == 20
    # Of the whole batch, not of one process's share.
    assert losses[0][:5] == pytest.approx(losses[1][:5], rel=1e-3)
    assert np.corrcoef(*losses)[0, 1] > 0.99
    trained = [state(folder / "iter_20.pth") for folder in (tmp_path, straight / "run")]
    for key, tensor in trained[1].items():
        torch.testing.assert_close(trained[0][key], tensor, rtol=0, atol=1e-3, msg=key)


def interrupt(process: ForkedTool | subprocess.Popen, run: Path) -> None:
    """Stop a run as a cluster does after its next checkpoint."""
    before = latest_checkpoint(run)
    while latest_checkpoint(run) == before and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)


def hinted_command(output: str) -> list[str]:
    """The command that a stopped run says goes on."""
    (line,) = (line for line in output.splitlines() if "go on with: " in line)
    return shlex.split(line.partition("go on with: ")[2])


#: Checkpoints come after every step, and steps enough for any moment.
LONG = ("train_cfg.max_iters=1000", "default_hooks.checkpoint.interval=1")


def test_an_interrupted_run_names_the_command_that_goes_on(straight: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["--launcher", "none", "--cfg-options", "randomness.seed=5", *LONG]
    command = [straight / "experiment.py", "--work-dir", run, *options]
    for resume in ((), ("--resume",)):
        process = start(*command, *resume)
        interrupt(process, run)
        status, _, err = process.wait()
        assert status == 143
        assert hinted_command(err) == ["python", *map(str, (TOOL, *command)), "--resume"]


def test_an_interrupted_run_of_several_processes_names_its_script(straight: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [TOOLS / "dist_train.sh", straight / "experiment.py", "2", "--work-dir", run, "--cfg-options", *LONG]
    process = run_command(*command)
    interrupt(process, run)
    output, _ = process.communicate(timeout=240)
    assert hinted_command(output) == [*map(str, command), "--resume"]


@pytest.fixture
def stopped_late(monkeypatch):
    """A signal that stops comes a little later, and processes wait long for it."""

    def stop(*_: object) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGALRM, stop)
    monkeypatch.setattr(train, "_HEARS_OF_IT", 60.0)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("processes", "missed"), [(2, "Connection closed by peer"), (1, "DataLoader worker (pid 7) is killed by signal: T")]
)
def test_who_misses_a_stopped_process_before_it_is_stopped_itself_is_interrupted(
    stopped_late, monkeypatch, processes: int, missed: str
) -> None:
    monkeypatch.setattr(train, "get_world_size", lambda: processes)
    assert train.interruption(RuntimeError(missed)).code == 143
    monkeypatch.setattr(train, "_HEARS_OF_IT", 0.0)
    assert train.interruption(RuntimeError(missed)) is None


def test_an_error_while_a_run_is_stopped_is_the_interruption(stopped_late) -> None:
    stop, failed = SystemExit(143), RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated.")
    failed.__context__ = stop
    assert train.interruption(failed) is stop
    assert train.interruption(ValueError("of one process alone, which waits for nothing")) is None


@pytest.mark.parametrize("typed", [[], ["--resume"]])
def test_a_run_interrupted_before_its_first_checkpoint_claims_none(load_tool, monkeypatch, tmp_path, typed) -> None:
    monkeypatch.setattr(sys, "argv", ["tools/train.py", "a.py", *typed, "--work-dir", str(tmp_path)])
    tool, cfg = load_tool("train"), Config(dict(work_dir=str(tmp_path), launcher="none"))
    arguments = tool.parse_args(), cfg, time.time()
    assert tool.hint(*arguments) == "no checkpoint was saved so far, so the same command begins anew"
    torch.save({}, tmp_path / "iter_10.pth")
    assert tool.hint(*arguments).endswith(f"train.py a.py --work-dir {tmp_path} --resume")


@pytest.mark.parametrize(
    "typed", [["--resume", "old/iter_5.pth"], ["--resume=old/iter_5.pth"], ["--res", "old/iter_5.pth"]]
)
def test_a_run_resumed_from_a_path_goes_on_from_what_it_wrote_itself(
    load_tool, monkeypatch, tmp_path: Path, typed: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tools/train.py", "a.py", *typed, "--work-dir", str(tmp_path)])
    tool, later = load_tool("train"), tmp_path / "iter_40.pth"
    torch.save({}, later)
    os.utime(later, (0, 0))
    begun = time.time() - 10
    arguments = tool.parse_args(), Config(dict(work_dir=str(tmp_path), launcher="none")), begun
    without = f"go on with: python tools/train.py a.py --work-dir {tmp_path} --resume"
    assert tool.hint(*arguments) == f"{without} old/iter_5.pth"
    torch.save({}, tmp_path / "iter_10.pth")
    assert tool.hint(*arguments) == f"{without} {tmp_path / 'iter_10.pth'}"


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
        (["--cfg-options", "train_dataloader.dataset.gt_rot=3"], r"train_dataloader cannot be built: .*'gt_rot'"),
        (["--cfg-options", "val_dataloader.dataset.gt_rot=3"], r"val_evaluator cannot be built: .*'gt_rot'"),
        (["--cfg-options", "val_evaluator.precisoin=3"], r"evaluator cannot be built: .*'precisoin'"),
        (["--cfg-options", "train_cfg.max_iter=3"], r"train_cfg or train_dataloader cannot be built: .*'max_iter'"),
        (["--cfg-options", "train_cfg=3"], r"train_cfg has several settings, .*max_iters.*name one, such as"),
        (["--cfg-options", "custom_hooks.0=off"], r"custom_hooks.0 has several settings, type, "),
        (["--cfg-options", "train_cfg.max_iters=0"], r"train_cfg.max_iters 0: use a whole number from 1 on"),
        (["--cfg-options", "train_cfg.val_interval=0"], r"train_cfg.val_interval 0: use a whole number from 1 on"),
        (["--cfg-options", "train_cfg.micro_batch_size=0"], r"train_cfg.micro_batch_size 0: use a whole number from 1"),
        (["--cfg-options", "total_batch_size=0"], r"total_batch_size 0: use a whole number from 1 on"),
        (["--cfg-options", "optim_wrapper.optimizer.betass=3"], r"optim_wrapper cannot be built: .*'betass'"),
        (["--cfg-options", "optim_wrapper.optimizer.lr=abc"], r"optim_wrapper.optimizer.lr 'abc': use a number"),
        (["--cfg-options", "param_scheduler.tmax=3"], r"param_scheduler cannot be built: .*'tmax'"),
        (["--cfg-options", "custom_hooks.0.step=3"], r"default_hooks or custom_hooks cannot be built: .*'step'"),
        (["--cfg-options", "default_hooks.checkpoint.save_best=3"], r"custom_hooks cannot be built: .*save_best"),
        (["--cfg-options", "default_hooks.checkpoint.intervall=3"], r"CheckpointHook has no argument 'intervall'"),
        (["--cfg-options", "custom_hooks.0.modules.0=generator.spy"],
         r"custom_hooks.0.modules.0=generator.spy: there is no such setting to replace"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_before_the_first_step(run_tool, tmp_path: Path, arguments: list, message: str) -> None:
    config = write_experiment(tmp_path)
    status, out, err = run_tool("train", config, "--work-dir", tmp_path / "run", *arguments)
    assert (status, out) == (1, "")
    (line,) = err.strip().splitlines()
    assert line.startswith("error: ")
    assert re.search(message, line), line
    assert not list((tmp_path / "run").glob("*.pth"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to compute on")
def test_a_precision_that_the_processor_only_imitates_is_refused(run_tool, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("vsr_plugin.acceleration.precision._cpu_computes", lambda dtype: False)
    status, _, err = run_tool("train", write_experiment(tmp_path), "--work-dir", tmp_path / "run", "--amp")
    assert status == 1
    assert err.strip().splitlines()[-1] == (
        "error: this CPU has no arithmetic for precision 'bf16'; use fp32: leave --amp out, or add --cfg-options "
        "optim_wrapper.precision=fp32"
    )


def test_a_resumed_run_computes_with_as_many_threads(straight: Path, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    last = straight / "run" / "iter_20.pth"
    assert training_meta(last)["threads"] == 1
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        train.choose_threads(Config(dict(load_from=str(last), resume=True)), FreeCores())
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_an_earlier_run_is_not_overwritten(run_tool, straight: Path) -> None:
    before = (straight / "run" / "iter_20.pth").stat().st_mtime_ns
    status, _, err = run_tool("train", straight / "experiment.py", "--work-dir", straight / "run")
    assert status == 1
    assert "holds checkpoints of an earlier run (iter_20.pth); go on with it by --resume" in err
    assert (straight / "run" / "iter_20.pth").stat().st_mtime_ns == before


def test_a_cut_off_checkpoint_is_refused(run_tool, straight: Path, tmp_path: Path) -> None:
    cut = tmp_path / "iter_9.pth"
    cut.write_bytes((straight / "run" / "iter_20.pth").read_bytes()[:-100])
    arguments = (straight / "experiment.py", "--work-dir", tmp_path, "--resume")
    status, _, err = run_tool("train", *arguments, cut)
    assert status == 1
    assert f"{cut}: the checkpoint is cut off; take an earlier one" in err
    assert latest_checkpoint(tmp_path) is None


def test_weights_without_their_training_are_not_resumed(run_tool, straight: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.pth"
    torch.save(dict(params=load_net(straight / "run" / "iter_20.pth").state_dict()), plain)
    arguments = (straight / "experiment.py", "--work-dir", tmp_path)
    status, _, err = run_tool("train", *arguments, "--resume", plain)
    assert status == 1
    line = err.strip().splitlines()[-1]
    assert line.startswith(f"error: {plain}: holds weights, not a training to go on with")
    # What it advises works.
    words = [*arguments, *shlex.split(line.partition(" add ")[2])]
    finish(start(*words, "train_cfg.max_iters=1", "optim_wrapper.optimizer.lr=1e-9"))
    before, after = load_net(plain).state_dict(), load_net(tmp_path / "iter_1.pth").state_dict()
    for key, tensor in before.items():
        torch.testing.assert_close(after[key], tensor, rtol=0, atol=1e-6, msg=key)


def test_a_checkpoint_of_another_network_is_named(run_tool, straight: Path, tmp_path: Path) -> None:
    other, options = straight / "run" / "iter_20.pth", ["--cfg-options", "model.generator.num_blocks=2"]
    arguments = (straight / "experiment.py", "--work-dir", tmp_path, "--resume", other, *options)
    status, _, err = run_tool("train", *arguments, "train_cfg.max_iters=21")
    assert status == 1
    assert err.strip().splitlines()[-1].startswith(f"error: {other}: does not fit BasicVSRNet: ")


def test_a_finished_run_says_so(run_tool, straight: Path) -> None:
    last = straight / "run" / "iter_20.pth"
    status, out, _ = run_tool("train", straight / "experiment.py", "--work-dir", last.parent, "--resume")
    assert status == 0
    assert out.strip().splitlines()[-1] == (f"{last}: already has its 20 steps; raise max_iters to go on")


def test_a_batch_that_cannot_be_shared_out(run_tool, straight: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    status, _, err = run_tool("train", straight / "experiment.py", "--work-dir", tmp_path)
    assert status == 1
    assert "total_batch_size 2 cannot be shared out to 3 processes" in err
    assert "--cfg-options total_batch_size=3" in err
