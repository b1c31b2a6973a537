import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def run_tool(monkeypatch, capsys):
    """Run a tool in this process as the shell would; returns (status, standard output, standard error)."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"tools_{name}", TOOLS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def run(name: str, *args: object) -> tuple[int, str, str]:
        from vsr_plugin.cli import run_command

        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, args)])
        try:
            status = run_command(load(name).main)
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        return status, out, err

    return run
