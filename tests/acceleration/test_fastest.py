"""Precision ``auto``: what a trial finds, and that it is kept."""

import pytest
import torch
from torch import Tensor

from vsr_plugin.acceleration import decided, fastest, fastest_precision
from vsr_plugin.acceleration.cpu.kernels import jit
from vsr_plugin.models import BasicVSRNet

#: Seconds a frame, and difference to float32 in dB, of machines that are made up; and what is to be taken.
MACHINES = {
    "integers are fastest": ({"fp32": (1.0, None), "int16": (0.7, 80), "bf16": (1.2, 62)}, "int16"),
    "faster but too coarse": ({"fp32": (1.0, None), "int16": (0.7, 80), "bf16": (0.2, 66.3)}, "int16"),
    "fast and fine": ({"fp32": (1.0, None), "int16": (0.7, 80), "bf16": (0.2, 66.5)}, "bf16"),
    "hardly faster": ({"fp32": (1.0, None), "int16": (0.96, 80)}, "fp32"),
    "a precision that overflows": ({"fp32": (1.0, None), "fp16": (0.2, float("nan"))}, "fp32"),
    "nothing else": ({"fp32": (1.0, None)}, "fp32"),
}


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(fastest, "_tried", {})


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A folder of its own for what is kept."""
    monkeypatch.setenv("PYTORCH_KERNEL_CACHE_PATH", str(tmp_path / "kernels"))
    return tmp_path / "kernels" / "vsr_plugin"


def small_net(**arguments):
    torch.manual_seed(0)
    return BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4, **arguments).eval()


@pytest.fixture
def machine(kept, monkeypatch):
    """Call it with what :data:`MACHINES` holds; it counts the trials in ``runs``."""

    def pretend(figures):
        runs = []

        def accelerate(net, precision):
            difference = figures[precision][1]
            noise = 0.0 if difference is None else 10 ** (-difference / 20)

            def run(frames: Tensor) -> Tensor:
                runs.append(precision)
                return torch.full((1, 2, 3, 8, 8), 0.5 + noise)

            return run

        def seconds(call, device):
            call()
            return 2 * figures[runs[-1]][0]  # two frames

        monkeypatch.setattr(fastest, "accelerate", accelerate)
        monkeypatch.setattr(fastest, "_computes", lambda precision, device: precision in figures)
        monkeypatch.setattr(fastest, "_seconds", seconds)
        return runs

    return pretend


@pytest.mark.parametrize("name", MACHINES)
def test_what_is_taken(name, machine):
    figures, expected = MACHINES[name]
    machine(figures)
    trial = fastest_precision(small_net())
    assert trial.precision == expected
    assert trial.seconds == {precision: pytest.approx(seconds) for precision, (seconds, _) in figures.items()}
    for precision, (_, difference) in figures.items():
        wanted = 99 if difference is None else difference
        assert trial.difference[precision] == pytest.approx(wanted, abs=0.02, nan_ok=True)


def test_the_line_for_a_person(machine):
    machine(MACHINES["integers are fastest"][0])
    assert str(fastest_precision(small_net())) == (
        "precision int16: the fastest here within 0.01 dB of fp32 "
        "(a frame of the trial: int16 0.7 s, fp32 1 s, bf16 1.2 s)"
    )


def test_it_is_kept_from_process_to_process(machine, kept):
    runs = machine(MACHINES["integers are fastest"][0])
    first = fastest_precision(small_net())
    count = len(runs)
    fastest._tried.clear()
    machine(dict.fromkeys(("fp32", "int16", "bf16"), (1.0, 99)))
    assert fastest_precision(small_net()) == first
    assert count
    assert len(list(kept.glob("*.bin"))) == 1


def test_another_kind_of_network_and_another_processor_are_tried_anew(machine, monkeypatch):
    runs = machine(MACHINES["integers are fastest"][0])
    fastest_precision(small_net())
    once = len(runs)
    same, other = small_net(), small_net(propagation="unidirectional")
    with torch.no_grad():
        same.conv_last.bias.add_(1)
    fastest_precision(same)
    assert len(runs) == once
    fastest_precision(other)
    assert len(runs) == 2 * once
    monkeypatch.setattr(fastest, "_processor", lambda device: ("another",))
    fastest_precision(same)
    assert len(runs) == 3 * once


def test_only_auto_asks(machine):
    runs = machine(MACHINES["integers are fastest"][0])
    net = small_net()
    assert decided(net, "bf16") == "bf16"
    assert not runs
    assert decided(net, "auto") == "int16"


def test_a_real_trial():
    trial = fastest_precision(small_net())
    assert trial.precision in trial.seconds
    assert all(seconds > 0 for seconds in trial.seconds.values())
    assert trial.difference["fp32"] == 99
    assert trial.precision == "fp32" or trial.difference[trial.precision] >= fastest.NEEDED


def test_without_llvmlite(monkeypatch):
    def missing():
        raise RuntimeError("llvmlite is not installed")

    monkeypatch.setattr(jit, "processor", missing)
    assert torch.backends.cpu.get_cpu_capability() in fastest._processor(torch.device("cpu"))
