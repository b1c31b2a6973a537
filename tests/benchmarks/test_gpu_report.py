"""One call for many commands: what has ended is kept, whatever becomes of the others."""

import json
import sys

import pytest
import torch

from vsr_plugin.benchmarks.gpu_report import PARTS, run_parts
from vsr_plugin.cli.benchmark import parse_args


def python(code):
    return [sys.executable, "-c", code, "JSON"]


def test_parts_are_kept_as_they_end(tmp_path):
    parts = {
        "good one": python("import sys, json; json.dump([1, 2], open(sys.argv[1], 'w')); print('| a | table |')"),
        "bad one": python("raise SystemExit('error: no such thing')"),
        "endless": python("import threading; print('begun', flush=True); threading.Event().wait()"),
        "too late": python(""),
    }
    said = []
    done = run_parts({name: parts[name] for name in ("good one", "bad one")}, tmp_path / "out", 600, said.append)
    assert [(part.name, part.status, part.figures) for part in done] == [("good one", 0, [1, 2]), ("bad one", 1, None)]
    assert said == ["good one", "bad one"]
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| a | table |" in text
    assert "error: no such thing" in text
    stored = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [part["status"] for part in stored] == [0, 1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.json", "report.md"]

    done = run_parts({name: parts[name] for name in ("endless", "too late")}, tmp_path / "late", 3, said.append)
    assert [(part.name, part.status, part.output) for part in done] == [("endless", None, "begun\n")]
    assert said[-1] == "too late: left out, the time is over"
    assert "the time was over" in (tmp_path / "late" / "report.md").read_text()


@pytest.mark.parametrize("name", [name for name in PARTS if name != "tests"])
def test_the_parts_are_commands_that_exist(name):
    command = PARTS[name]
    assert command[3] == "benchmark"
    args = parse_args(["figures.json" if word == "JSON" else word for word in command[4:]])
    assert "cuda" in (getattr(args, "device", "cuda"),)


def test_training_is_of_the_papers_step_and_of_networks_that_the_benchmark_trains(capsys):
    trained = {name: command for name, command in PARTS.items() if name.startswith("training")}
    assert sorted(trained) == ["training of basicvsr", "training of iconvsr"]
    for command in trained.values():
        args = parse_args([word for word in command[4:] if word not in ("--json", "JSON")])
        assert (args.batch, args.frames, args.patch) == (8, 15, 64)
    with pytest.raises(SystemExit):
        parse_args(["train", "--model", "basicvsr_pp"])
    assert "invalid choice: 'basicvsr_pp'" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(run_tool, tmp_path):
    status, _, err = run_tool("benchmark", "gpu-report", tmp_path / "report")
    assert (status, err.count("\n")) == (1, 1)
    assert "no GPU" in err
