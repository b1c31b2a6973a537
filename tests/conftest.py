"""Fixtures that several test folders share."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import clip_files
import pytest

from vsr_plugin.datasets.sample_clips import sample_clip
from vsr_plugin.errors import MediaError


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
