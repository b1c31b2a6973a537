"""When streams of an AVI file begin: its header says so for a whole stream, and FFmpeg writes that all begin at 0."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

_CHUNK = struct.Struct("<4sI")
#: In a stream's header: its unit of time as two numbers, and its start in that unit.
_UNIT_PLACE, _START_PLACE = 20, 28


def set_audio_starts(path: Path, seconds: Sequence[Fraction]) -> None:
    """Say in the header of a finished file when its audio streams begin.

    Args:
        path: The file, as FFmpeg writes it.
        seconds: Of each audio stream, in order, 0 or more; rounded to the stream's unit of time, that of a packet or
            sample.

    Raises:
        OSError: the disk fails.
    """
    with open(path, "r+b") as file:
        places = [place for place in _stream_headers(file) if _read(file, place, "4s") == (b"auds",)]
        for place, start in zip(places, seconds, strict=True):
            scale, rate = _read(file, place + _UNIT_PLACE, "<II")
            file.seek(place + _START_PLACE)
            file.write(struct.pack("<I", round(start * rate / scale)))


def _stream_headers(file: BinaryIO) -> list[int]:
    """Where the contents of the streams' headers (``strh``) begin."""
    places, lists = [], [(12, 12 + _CHUNK.size)]  # behind RIFF, size and kind there is one list, of headers
    while lists:
        place, end = lists.pop(0)
        while place < end:
            name, size = _read(file, place, _CHUNK.format)
            content = place + _CHUNK.size
            if name == b"LIST" and _read(file, content, "4s")[0] in (b"hdrl", b"strl"):
                lists.append((content + 4, content + size))
            elif name == b"strh":
                places.append(content)
            place = content + size + size % 2
    return places


def _read(file: BinaryIO, place: int, format: str) -> tuple:
    file.seek(place)
    return struct.unpack(format, file.read(struct.calcsize(format)))
