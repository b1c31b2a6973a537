"""What a wheel holds."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import vsr_plugin
from vsr_plugin.weights import PUBLISHED

ROOT = Path(vsr_plugin.__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a wheel, which is built from a copy: a build leaves folders beside the sources."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    skipped = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "data", "tests", "docs", "work_dirs")
    shutil.copytree(ROOT, folder / "source", ignore=lambda at, names: skipped(at, names) - {"data" * (at != str(ROOT))})
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder]
    subprocess.run([*command, folder / "source"], check=True)
    (file,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(file).namelist())


def test_it_holds_the_package_with_kernels_configs_and_tools(wheel: set[str]) -> None:
    for folder, pattern in (("vsr_plugin", "*.py"), ("vsr_plugin", "*.cu")):
        assert {
            str(file.relative_to(ROOT)) for file in (ROOT / folder).rglob(pattern) if ".mim" not in file.parts
        } <= wheel
    for name in ("configs", "tools"):
        files = {file for file in (ROOT / name).rglob("*.*") if "__pycache__" not in file.parts}
        assert {f"vsr_plugin/.mim/{file.relative_to(ROOT)}" for file in files} <= wheel
    assert "vsr_plugin/.mim/model-index.yml" in wheel
    assert {name.partition("/")[0] for name in wheel} == {
        "vsr_plugin",
        f"vsr_plugin-{vsr_plugin.__version__}.dist-info",
    }


def test_the_index_of_models_says_what_the_code_knows() -> None:
    (file,) = yaml.safe_load((ROOT / "model-index.yml").read_text())["Import"]
    models = yaml.safe_load((ROOT / file).read_text())["Models"]
    # The index wants a config for each, and there is none for what the challenges and restoring at x1 were trained on.
    without_config = ("basicvsr_pp_ntire", "basicvsr_pp_decompress", "basicvsr_pp_deblur", "basicvsr_pp_denoise")
    known = {
        weights.url: weights.trained_on
        for weights in PUBLISHED.values()
        if "vsr_" in weights.name and not weights.name.startswith(without_config)
    }
    assert {model["Weights"]: model["Metadata"]["Training Data"] for model in models} == known
    assert all((ROOT / model["Config"]).is_file() for model in models)
