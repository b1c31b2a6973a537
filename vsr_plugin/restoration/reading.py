"""Reading runs of frames of one source by number, mostly in rising order."""

import copy
from collections import deque
from collections.abc import Iterator

from vsr_plugin.media import Frame, FrameSource
from vsr_plugin.media.source import Entry, Notes


class RangeReader:
    """Reads run after run of a source and decodes no frame again that it need not.

    It goes on where it is, and enters a video anew only to get ahead or back. So a video that cannot be entered in the
    middle is decoded once, not once for every shot.

    Args:
        source: stays as it is; its notes are those of the scan.
        start: its frame that has the number 0 here.
        keep: so many of the last frames are held, for runs that overlap.

    Attributes:
        entered: frames come from an entry into the middle of a video, not from its beginning.
    """

    def __init__(self, source: FrameSource, start: int, keep: int = 0) -> None:
        self._source = copy.copy(source)
        self._source.notes = Notes()
        self._start = start
        self._held: deque[Frame] = deque(maxlen=keep)
        self._frames: Iterator[Frame] | None = None
        self._next = 0  # number of the frame that comes next
        self.entered = False

    def read(self, first: int, count: int, entry: Entry | None = None) -> Iterator[Frame]:
        """Yield ``count`` frames from ``first`` on, or as many as there are.

        Args:
            entry: where decoding can begin for ``first``.

        Raises:
            MediaError: see :meth:`vsr_plugin.media.FrameSource.frames`.
        """
        self._go_to(first, entry)
        for number in range(first, first + count):
            held = number - self._next + len(self._held)
            if held < len(self._held):
                yield self._held[held]
            elif (frame := self._decode()) is not None:
                yield frame
            else:
                return

    def _go_to(self, first: int, entry: Entry | None) -> None:
        if self._frames is not None and self._next - len(self._held) <= first:
            # Images are read one by one, and a video may be entered nearer to the frame.
            nearer = self._source.kind == "folder" or (entry is not None and entry.number > self._start + self._next)
            if first <= self._next or not nearer:
                while self._next < first and self._decode() is not None:
                    pass
                return
        self.close()
        self._frames, self._next = self._source.frames(self._start + first, entry=entry), first
        self.entered = entry is not None

    def _decode(self) -> Frame | None:
        frame = next(self._frames, None)
        if frame is not None:
            self._held.append(frame)
            self._next += 1
        return frame

    def close(self) -> None:
        """Close the file."""
        if self._frames is not None:
            self._frames.close()
            self._frames = None
        self._held.clear()
