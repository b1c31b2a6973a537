"""A server of the page as a person starts it, and a browser that looks at it."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import clip_files
import pytest
import torch
from page_server import Server

from vsr_plugin.models import BasicVSRNet


@pytest.fixture(scope="module")
def serve(tmp_path_factory) -> Iterator[Callable[..., Server]]:
    """Start a server for a folder; all are ended with the module."""
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("Gradio is not installed; make test-app installs it")
    with ExitStack() as servers:

        def start(root: Path, *arguments: str) -> Server:
            server = Server(root, *arguments, log=tmp_path_factory.mktemp("log") / "server.log")
            servers.callback(server.end)
            return server

        yield start


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """A folder with weights of a small network, which are quick."""
    folder = tmp_path_factory.mktemp("films")
    torch.manual_seed(0)
    weights = dict(state_dict=BasicVSRNet(mid_channels=4, num_blocks=1, spynet_width=4).state_dict())
    torch.save(weights, folder / "small.pth")
    return folder


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, or another one that is there."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed; make test-app installs it"
    )
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("there is no Chromium; on Debian: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        # Its sandbox needs what containers do not allow.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def make_film() -> Callable[..., Path]:
    """Make a small clip; see ``clip_files``."""
    return clip_files.make_clip
