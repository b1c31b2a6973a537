"""Files that a browser sends: kept when they are whole and a video or image, under a name that is free."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from vsr_plugin.app.roots import Roots
from vsr_plugin.errors import MediaError
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
