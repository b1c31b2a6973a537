"""One input through reading, encoding and joining, and what came of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av

from vsr_plugin.errors import VSRError
from vsr_plugin.media import Encoding, open_sink, open_source

#: No input has so many frames; of one whose header says so, no more are read.
MOST_FRAMES = 200


class FuzzingError(AssertionError):
    """An input that ended in neither a result nor one clear line."""


def attempt(source_path: Path, target: Path, *, first: int = 0, count: int | None = None) -> str:
    """Copy an input at its own size.

    Args:
        source_path: The input.
        target: The output, a video or a folder.
        first: First frame that is asked for.
        count: How many are asked for.

    Returns:
        ``'done'``, or the line by which it was refused.

    Raises:
        FuzzingError: the line is none, or the refusal came when all frames were written, or the result is wrong.
    """
    written = 0
    complete = False
    try:
        with open_source(source_path) as source:
            fast = Encoding(preset="ultrafast", quality=40)
            with open_sink(target, source, scale=1, start=first, num_frames=count, encoding=fast) as sink:
                for frame in source.frames(first, min(count or MOST_FRAMES, MOST_FRAMES)):
                    sink.write(replace(frame))
                    written += 1
                complete = True
    except VSRError as error:
        line = str(error)
        if "\n" in line or len(line) > 1000 or not line:
            raise FuzzingError(f"not one line: {line!r}") from error
        if complete:
            raise FuzzingError(f"lost after {written} frames: {line}") from error
        if target.exists():
            raise FuzzingError(f"refused, but something is left: {line}") from error
        return line
    _check(target, written)
    return "done"


def _check(target: Path, written: int) -> None:
    """See whether the output holds the frames that were written, in rising order."""
    if target.is_dir():
        found = len(list(target.iterdir()))
        if found != written:
            raise FuzzingError(f"{found} images of {written} frames")
        return
    with av.open(str(target)) as container:
        if target.suffix == ".avi":
            times = [packet.dts for packet in container.demux(video=0) if packet.size]
        else:
            times = [frame.pts for frame in container.decode(video=0)]
    if len(times) != written:
        raise FuzzingError(f"the output shows {len(times)} of {written} frames")
    # Matroska rounds to milliseconds.
    if any(after < before or (after == before and target.suffix != ".mkv") for before, after in pairwise(times)):
        raise FuzzingError(f"times of the output do not rise: {times}")
