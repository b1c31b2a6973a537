"""What the tests of the host share: interpreters that have imported nothing yet."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def fresh() -> Callable[..., str]:
    """Run code in a fresh interpreter and return what it prints; its traceback on failure."""

    def run(code: str, *path: Path, script: Path | None = None) -> str:
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(map(str, [*path, ROOT]))
        command = [sys.executable, "-c", textwrap.dedent(code)]
        if script is not None:
            script.write_text(textwrap.dedent(code))
            command = [sys.executable, str(script)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
