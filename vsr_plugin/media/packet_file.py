"""Video packets of one run of frames in a file of its own, to be joined with others later.

No container is used, because none keeps every codec's packets, their timestamps in any unit and
their flags without a change.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from vsr_plugin.errors import MediaError
from vsr_plugin.files import NewFile

_HEAD = struct.Struct("<qqIB")


class PacketFile(NewFile):
    """Packets in a file that gets its name when it is whole and on the disk."""

    def write(self, packets: list[av.Packet]) -> None:
        """Append packets in decoding order."""
        for packet in packets:
            payload = bytes(packet)
            self.file.write(_HEAD.pack(packet.pts, packet.duration or 0, len(payload), packet.is_keyframe))
            self.file.write(payload)


def _heads(path: Path, *, payloads: bool) -> Iterator[tuple[int, int, int, bytes]]:
    with open(path, "rb") as file:
        while head := file.read(_HEAD.size):
            payload = b""
            if len(head) == _HEAD.size:
                pts, duration, size, key = _HEAD.unpack(head)
                payload = file.read(size) if payloads else b""
                if not payloads:
                    file.seek(size, os.SEEK_CUR)
            if len(head) < _HEAD.size or (payloads and len(payload) < size):
                raise MediaError(f"{path}: is cut off; delete {path.parent.parent} and start again")
            yield pts, duration, key, payload


def read_times(path: Path) -> np.ndarray:
    """Return the presentation timestamps of a file's packets in decoding order, ``(n,)`` of ``int64``.

    Raises:
        MediaError: the file is cut off.
    """
    return np.array([pts for pts, *_ in _heads(path, payloads=False)], np.int64)


def reordering(times: np.ndarray) -> int:
    """Return by how many places at most a packet is decoded after it should be in order of presentation."""
    ranks = np.argsort(np.argsort(times, kind="stable"), kind="stable")
    return int(max(0, (np.arange(len(times)) - ranks).max(initial=0)))


def joined_packets(paths: list[Path], delay: int) -> Iterator[av.Packet]:
    """Yield the packets of several files, which follow each other in time, as of one stream.

    The decoding time of a packet is the presentation time of the one ``delay`` places before it in order of
    presentation, as encoders count it; before the first it continues at the distance of the first two.

    Args:
        paths: Files in order; their encoders knew nothing of each other.
        delay: At least the :func:`reordering` of each of them.

    Raises:
        MediaError: a file is cut off.
    """
    waiting: list[int] = []
    for path in paths:
        times = np.sort(read_times(path)).tolist()
        if not waiting and delay:
            step = times[1] - times[0] if len(times) > 1 else 1
            waiting = [times[0] - i * step for i in range(delay, 0, -1)]
        waiting += times
        for number, (pts, duration, key, payload) in enumerate(_heads(path, payloads=True)):
            packet = av.Packet(payload)
            packet.pts, packet.dts, packet.duration = pts, waiting[number], duration
            packet.is_keyframe = bool(key)
            yield packet
        del waiting[: len(times)]
