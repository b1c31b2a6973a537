"""``vsr-plugin`` and its commands: what is found from where, and how long the help takes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import vsr_plugin
from vsr_plugin.__main__ import COMMANDS, main
from vsr_plugin.shipped import find_config, shipped

ROOT = Path(vsr_plugin.__file__).parents[1]


def run_python(*arguments: str) -> tuple[str, float]:
    """Output and processor time of a Python, away from the checkout."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *arguments], env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd="/", capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_help_names_every_command() -> None:
    text, seconds = run_python("-m", "vsr_plugin", "--help")
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert seconds < 0.5


def test_importing_the_package_imports_nothing_large() -> None:
    code = (
        "import sys, vsr_plugin.__main__; print(*sys.modules.keys() & {'torch', 'numpy', 'mmengine', 'mmagic', 'cv2'})"
    )
    assert run_python("-c", code)[0].strip() == ""


def test_the_help_of_restoring_needs_no_pytorch() -> None:
    text, seconds = run_python("-m", "vsr_plugin", "restore", "--help")
    assert "--devices" in text
    assert seconds < 1
    code = "import sys, vsr_plugin.cli.restore as c; c.parse_args(['a', 'b']); print(*sys.modules.keys() & {'torch'})"
    assert run_python("-c", code)[0].strip() == ""


def test_frames_are_restored_without_mmagic() -> None:
    code = "import sys, vsr_plugin.inference, vsr_plugin.weights; print(*sys.modules.keys() & {'mmagic', 'mmcv'})"
    assert run_python("-c", code)[0].strip() == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: vsr-plugin {name} ")


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["restore"], ["train"]])
def test_wrong_words(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["iconvsr_reds", "iconvsr_reds.py", "configs/iconvsr_reds.py", "studies/coupled"])
def test_configs_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = find_config(name)
    assert found.parent in (shipped("configs"), shipped("configs") / "studies")
    assert found.is_file()


def test_a_path_wins_and_what_is_not_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "iconvsr_reds.py").touch()
    assert find_config("iconvsr_reds.py") == Path("iconvsr_reds.py")
    assert find_config("nowhere") == Path("nowhere")


def test_an_interruption_while_pytorch_is_imported_is_one_line(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vsr_plugin.cli.command.import_module", interrupted)
    assert main(["train", "iconvsr_reds"]) == 130
    assert capsys.readouterr().err == "interrupted before it began\n"
