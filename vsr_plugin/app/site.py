"""What the server answers: the page, the files that it shows, uploads that it keeps, and nothing else."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import gradio
from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from vsr_plugin.app import parts
from vsr_plugin.app.page import Page, look
from vsr_plugin.app.previews import Previews, frame_at, to_png
from vsr_plugin.app.queue import JobQueue
from vsr_plugin.app.roots import Roots
from vsr_plugin.errors import MediaError, VSRError
from vsr_plugin.files import publish
from vsr_plugin.media import open_source


async def keep_upload(roots: Roots, name: str, content: AsyncIterator[bytes], folder: Path) -> Path:
    """Keep a file below the first folder.

    Args:
        roots: the folders of the page.
        name: what the browser calls it.
        content: its bytes; raises where they are cut off.
        folder: for what is not whole yet, on the same disk.

    Returns:
        The file.

    Raises:
        MediaError: it is neither video nor image, or the disk is full.
    """
    target = roots.free_name(name)
    number, partial = tempfile.mkstemp(dir=folder, suffix=target.suffix)
    try:
        with open(number, "wb") as file:
            async for block in content:
                file.write(block)
        await asyncio.to_thread(_check, Path(partial), name)
        target = roots.free_name(name)  # another one may have come meanwhile
        await asyncio.to_thread(publish, Path(partial), target)
        target.chmod(0o666 & ~_umask())
    except OSError as error:
        raise MediaError(f"{name}: cannot be kept ({error.strerror}); free space in {roots.first}") from error
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial)
    return target


def _check(path: Path, name: str) -> None:
    try:
        with open_source(path):
            pass
    except MediaError as error:
        # The name under which it lies here says nothing to a person.
        raise MediaError(str(error).replace(str(path), name)) from error


def _umask() -> int:
    os.umask(mask := os.umask(0))
    return mask


#: What the page asks for. Gradio answers more: it hands out files, fetches addresses, and describes the machine.
_GRADIO = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|manifest\.json)/?|/(assets|static)/.*"
    r"|/gradio_api/(queue/(join|data)|startup-events|reset|cancel|info)/?"
    r"|/gradio_api/heartbeat/\w+"
)
_OURS = re.compile(r"/media|/jobs(/\d+/\w+)?|/upload|/frame|/picture/\w+/\w+\.png|/newest/\d+|/clip/\w+\.mp4")


class Guard:
    """ASGI middleware that lets through what the page asks for, and only under the names of this machine.

    Args:
        app: what is guarded.
        hosts: names and addresses by which it may be called; ``None`` for all. A page of another server, whose name
            has come to stand for this machine, calls it by that name.
    """

    def __init__(self, app: Callable, hosts: frozenset[str] | None) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] == "http":
            refusal = self._refusal(scope)
            if refusal is not None:
                await PlainTextResponse(refusal, status_code=403)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: dict) -> str | None:
        if self._hosts is not None:
            called = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
            if re.sub(r":\d+$", "", called).strip("[]") not in self._hosts:
                return "this page answers to the address that it was started with\n"
        path = scope["path"]
        return None if _GRADIO.fullmatch(path) or _OURS.fullmatch(path) else f"{path!a}: is no part of this page\n"


def build(roots: Roots, jobs: JobQueue, previews: Previews, device: Sequence[str], hosts: frozenset[str] | None):
    """The page and the files that it shows, as an ASGI application.

    Args:
        roots: folders whose files it shows.
        jobs: the queue.
        previews: what was previewed.
        device: arguments for every job.
        hosts: see :class:`Guard`.
    """
    app = FastAPI(openapi_url=None)

    @app.get("/media")
    def media(name: str) -> Response:
        """A video or an image below the folders."""
        try:
            path = roots.resolve_media(name)
        except MediaError as error:
            return PlainTextResponse(f"{error}\n", status_code=403)
        if not path.is_file():
            return PlainTextResponse(f"{name!a}: no such file\n", status_code=404)
        return FileResponse(path)

    @app.put("/upload")
    async def upload(name: str, request: Request) -> Response:
        """Keep a file under a name that is free; answers with that name."""
        try:
            kept = await keep_upload(roots, name, request.stream(), previews.folder)
        except ClientDisconnect:
            return PlainTextResponse(f"{name}: the upload was cut off\n", status_code=400)
        except VSRError as error:
            return PlainTextResponse(f"{error}\n", status_code=422)
        return PlainTextResponse(roots.name(kept))

    @app.get("/frame")
    def frame(name: str, at: float) -> Response:
        """A frame of an input as it is."""
        try:
            return Response(to_png(frame_at(roots.resolve(name), at)), media_type="image/png")
        except (VSRError, ValueError, OverflowError) as error:
            return PlainTextResponse(f"{error}\n", status_code=404)

    @app.get("/picture/{key}/{name}.png")
    def picture(key: str, name: str) -> Response:
        """A picture of a preview, which never changes."""
        shown = previews.find(key)
        if shown is None or name not in shown.pictures:
            return PlainTextResponse("this preview is not kept any more; make it again\n", status_code=404)
        return Response(
            shown.pictures[name], media_type="image/png", headers={"Cache-Control": "private, max-age=86400"}
        )

    @app.get("/jobs")
    def list_jobs() -> JSONResponse:
        """All jobs, each as the page shows it."""
        shown = []
        for job in jobs.jobs():
            newest = jobs.newest(job.number)
            told = parts.job(job, None if newest is None else newest.stat().st_mtime_ns)
            shown.append(dict(number=job.number, state=job.state, told=told, actions=parts.actions(job.state)))
        return JSONResponse(shown)

    @app.post("/jobs/{number}/{action}")
    def change_job(number: int, action: str, request: Request) -> Response:
        """Do something with a job."""
        # A browser lets the pages of others send no such header.
        if request.headers.get("X-Page") != "vsr-plugin":
            return PlainTextResponse("only the page itself may do that\n", status_code=403)
        acts = dict(pause=jobs.pause, go_on=jobs.go_on, cancel=jobs.cancel)
        if action not in acts:
            return PlainTextResponse(f"{action!a}: cannot be done with a job\n", status_code=404)
        acts[action](number)
        return Response(status_code=204)

    @app.get("/newest/{number}")
    def newest(number: int) -> Response:
        """The newest restored frame of a job."""
        path = jobs.newest(number)
        return PlainTextResponse("there is none\n", status_code=404) if path is None else FileResponse(path)

    @app.get("/clip/{name}.mp4")
    def clip(name: str) -> Response:
        """A clip that was made as a preview."""
        path = previews.folder / f"{name}.mp4"
        return FileResponse(path) if path.is_file() else PlainTextResponse("no such clip\n", status_code=404)

    page = Page(roots, jobs, previews, device).build()
    # Gradio checks what files it is told to take only where it has launched the page itself.
    page.has_launched = True
    mounted = gradio.mount_gradio_app(
        app, page, path="/", footer_links=[], ssr_mode=False, enable_monitoring=False, mcp_server=False, pwa=False,
        run_history=False, allowed_paths=[], show_error=False, **look(),
    )  # fmt: skip
    return Guard(mounted, hosts)
