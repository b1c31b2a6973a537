"""Serves the page: on this machine only unless told otherwise, and nothing but the page and what it shows."""

from __future__ import annotations

import errno
import importlib.util
import ipaddress
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from vsr_plugin.app.previews import Previews
from vsr_plugin.app.queue import JobQueue
from vsr_plugin.app.roots import Roots
from vsr_plugin.errors import VSRError

#: Where queue, uploads and clips are, below the first folder of the page.
FOLDER = ".vsr_app"
_CLIPS = "clips_"
_PORT, _PORTS = 7860, 20


def serve(
    roots: Roots, *, host: str, port: int | None, device: str, on_ready: Callable[[str], None] = lambda address: None
) -> None:
    """Serve the page until the process is told to end.

    Args:
        roots: the folders that it may use.
        host: address to listen on.
        port: by default the first that is free from 7860 on.
        device: computes, see ``restore --device``.
        on_ready: called with the page's address when it answers.

    Raises:
        VSRError: Gradio is not installed, the port is taken, or another server uses the folder.
    """
    if importlib.util.find_spec("gradio") is None:
        raise VSRError("the page needs Gradio; `make app` installs it, or run: pip install -r requirements/app.txt")
    with (
        _listen(host, port) as listening,
        JobQueue(roots.first / FOLDER) as jobs,
        _folder_for_clips(jobs.folder) as folder,
    ):
        _prepare_gradio(folder)
        from vsr_plugin.app.site import build

        hosts = frozenset({"127.0.0.1", "localhost", "::1", host}) if _is_loopback(host) else None
        arguments = [] if device == "auto" else ["--device", device]
        _run(build(roots, jobs, Previews(device, Path(folder)), arguments, hosts), listening, on_ready)


def _folder_for_clips(folder: Path) -> tempfile.TemporaryDirectory:
    """One in the folder of the queue, whose lock says that those which are there are of servers that were killed."""
    for left in folder.glob(f"{_CLIPS}*"):
        shutil.rmtree(left, ignore_errors=True)
    return tempfile.TemporaryDirectory(dir=folder, prefix=_CLIPS)


def _prepare_gradio(folder: str) -> None:
    """Gradio reads these when it is imported; and what it and previews need meanwhile is below the roots, too."""
    tempfile.tempdir = folder
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "GRADIO_TEMP_DIR": folder,
    }


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int | None) -> socket.socket:
    wanted = range(_PORT, _PORT + _PORTS) if port is None else [port]
    for number in wanted:
        try:
            family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((host, number), family=family)
        except (OSError, OverflowError) as error:
            if getattr(error, "errno", None) != errno.EADDRINUSE:
                why = getattr(error, "strerror", None) or error
                raise VSRError(f"--host {host} --port {number}: cannot listen there ({why})") from error
    taken = f"port {port} is" if port is not None else f"ports {_PORT} to {_PORT + _PORTS - 1} are"
    raise VSRError(f"{taken} taken on {host}; choose another one with --port")


def _run(app: Callable, listening: socket.socket, on_ready: Callable[[str], None]) -> None:
    import uvicorn

    host, port = listening.getsockname()[:2]

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            on_ready(f"http://{f'[{host}]' if ':' in host else host}:{port}/")

    # A page that is open keeps a connection open, which is no reason to stay.
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    Server(config).run(sockets=[listening])
