"""What ``python -m vsr_plugin env`` says."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from vsr_plugin import __main__
from vsr_plugin.cli import env
from vsr_plugin.cli.env import Conflict, Environment, describe, find_conflicts
from vsr_plugin.errors import VSRError
from vsr_plugin.mmagic_host import Absence

FITTING = {
    "torch": "2.13.0+cpu",
    "numpy": "2.2.6",
    "mmengine": "0.10.7",
    "mmcv-lite": "2.1.0",
    "mmagic": "1.2.0",
    "opencv-python": "4.11.0.86",
    "av": "14.0.0",
}


def test_fitting_versions_have_no_conflict() -> None:
    assert find_conflicts(FITTING) == []
    assert find_conflicts({**FITTING, "mmengine": "0.7.1", "torch": "2.2.0", "numpy": "1.26.4"}) == []


@pytest.mark.parametrize(
    ("change", "fault", "cure", "fatal"),
    [
        ({"torch": None}, "PyTorch is not installed", "pip install torch", True),
        ({"torch": "2.1.0"}, "built for numpy 1", "pip install 'numpy<2'", True),
        ({"numpy": "3.0.0"}, "outside 1.22 <= version < 3", "numpy>=1.22,<3", False),
        ({"mmagic": None}, "MMagic is not installed", "--no-deps mmagic==1.2.0", True),
        ({"mmagic": "1.1.0"}, "1.1.0 was not tried", "mmagic==1.2.0", False),
        ({"mmengine": None}, "mmengine is not installed", "mmengine==0.10.7", True),
        ({"mmengine": "1.0.0"}, "outside 0.4 <= version < 1", "mmengine==0.10.7", True),
        ({"mmcv-lite": None}, "mmcv is not installed", "mmcv-lite==2.1.0", True),
        ({"mmcv-lite": "2.2.0"}, "outside 2.0 <= version < 2.2", "mmcv-lite==2.1.0", True),
        ({"mmcv": "2.1.0"}, "mmcv and mmcv-lite are both installed", "pip uninstall mmcv mmcv-lite", False),
        ({"opencv-python": None}, "OpenCV is not installed", "opencv-python==4.11", True),
        ({"opencv-python-headless": "4.11.0"}, "together, into the same folder", "pip uninstall", False),
        ({"opencv-python": "5.0.0"}, "was not tried with mmcv 2.1", "opencv-python<5", False),
        ({"opencv-python": "4.8.0"}, "built for numpy 1", "opencv-python>=4.10", False),
        ({"av": None}, "PyAV is not installed", "pip install av", False),
        ({"diffusers": "0.30.0"}, "diffusers 0.30.0 is too new", "diffusers==0.24.0", False),
        (
            {"diffusers": "0.24.0", "huggingface-hub": "0.30"},
            "does not fit diffusers",
            "huggingface_hub<0.26",
            False,
        ),
    ],
)
def test_conflict_comes_with_its_cure(change: dict, fault: str, cure: str, fatal: bool) -> None:
    installed = {name: version for name, version in {**FITTING, **change}.items() if version is not None}
    (conflict,) = find_conflicts(installed)
    assert fault in conflict.fault
    assert cure in conflict.cure
    assert conflict.fatal is fatal


def test_description_names_everything() -> None:
    text = describe(
        Environment(
            installed=FITTING,
            devices=["cpu: 2 threads"],
            backends=[("mmcv", "no module"), ("torch", "active")],
            weights={"spynet": None, "basicvsr_reds4": Path("/there.pth")},
            absences={"lpips": Absence("lpips"), "torchvision": Absence("torchvision", "RuntimeError: nms")},
            conflicts=[Conflict("this does not fit that", "pip install it")],
        )
    )
    for part in (
        "2.1.0 (mmcv-lite)",
        "cpu: 2 threads",
        "torch  active",
        "/there.pth",
        "not here",
        "  lpips\n",
        "torchvision  RuntimeError: nms",
        "warning: this does not fit that\n    cure: pip install it",
    ):
        assert part in text


def test_command_reports_this_environment() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "vsr_plugin", "env"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    for part in ("vsr_plugin", "PyTorch", "cpu: fp32: ", "Deformable convolution", "active", "basicvsr_reds4"):
        assert part in done.stdout
    assert "Warning: mmcv.ops" not in done.stdout


def test_command_fails_where_the_plugin_is_unusable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Environment(installed={}, conflicts=[Conflict("no PyTorch", "pip install torch", fatal=True)])
    monkeypatch.setattr(env, "collect", lambda: broken)
    assert __main__.main(["env"]) == 1
    assert "error: no PyTorch" in capsys.readouterr().out


# Packages that need torchvision would fail with it.
@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed here")
def test_what_fails_to_import_becomes_a_conflict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(env, "installed_versions", lambda: {**FITTING, "torchvision": "0.28.0"})
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    here = env.collect()
    assert here.usable
    assert any("torchvision::nms does not exist" in conflict.fault for conflict in here.conflicts)
    assert here.absences["torchvision"].reason


def test_person_gets_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise VSRError("this went wrong; do that")

    monkeypatch.setattr(env, "collect", fail)
    assert __main__.main(["env"]) == 1
    assert capsys.readouterr().err == "error: this went wrong; do that\n"


def test_devices_say_which_kernels_they_run(monkeypatch):
    import torch

    from vsr_plugin import acceleration
    from vsr_plugin.acceleration.cuda import flow_by_kernels, kernels

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        kernels,
        "obstacle",
        lambda device, dtype: (
            "libnvrtc.so.13 is not installed" if (device.index, dtype) == (1, torch.float16) else None
        ),
    )
    monkeypatch.setattr(flow_by_kernels, "flow_obstacle", lambda device: "they are for Hopper GPUs")
    monkeypatch.setattr(acceleration, "cpu_paths", lambda: {"fp32": "oneDNN", "bf16": "refused"})
    assert env._describe_kernels(torch, None) == []
    assert env._describe_kernels(torch, acceleration) == [
        "cpu: fp32: oneDNN",
        "cpu: bf16: refused",
        "cuda:0: kernels of our own: fp16 yes, bf16 yes, flow no (they are for Hopper GPUs)",
        "cuda:1: kernels of our own: fp16 no (libnvrtc.so.13 is not installed), bf16 yes, "
        "flow no (they are for Hopper GPUs)",
    ]
