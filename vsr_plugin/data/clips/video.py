"""A video file as a clip, and all frames of any clip, first to last, one in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vsr_plugin.data.clips.clip import Clip, Window
from vsr_plugin.errors import DataError, MediaError
from vsr_plugin.media import VideoSource, open_source
from vsr_plugin.media.video_file import MEDIA_FAULTS, demux, open_input, pick_video_stream
from vsr_plugin.ops.frames import to_uint8


class VideoClip(Clip):
    """Frames of a video as stored (not turned upright); see :class:`Clip`.

    A video is decoded from its beginning up to the last frame that is wanted, so for random places in long videos
    pack it first (``tools/prepare_data.py``). Depths above 8 bits are reduced.
    """

    _source: VideoSource | None = None
    _count: int | None = None

    @property
    def num_frames(self) -> int:
        if self._count is None:
            self._count = self._count_packets()
        return self._count

    @property
    def height(self) -> int:
        return self._opened().height

    @property
    def width(self) -> int:
        return self._opened().width

    def _opened(self) -> VideoSource:
        if self._source is None:
            try:
                self._source = open_source(self.path)
            except MediaError as error:
                raise DataError(f"clip {self.name}: {error}") from error
        return self._source

    def _count_packets(self) -> int:
        # A container's own number counts frames that an edit list hides; packets are read without decoding.
        try:
            with open_input(self.path) as container:
                stream = pick_video_stream(container, self.path)
                count = sum(bool(packet.size) and not packet.is_discard for packet in demux(container, [stream]))
        except MediaError as error:
            raise DataError(f"clip {self.name}: {error}") from error
        except MEDIA_FAULTS as error:
            raise DataError(f"clip {self.name} ({self.path}): the video is damaged ({error}); replace it") from error
        if not count:
            raise DataError(f"clip {self.name} ({self.path}): the video holds no frames")
        return count

    def _read(self, indices: list[int], window: Window) -> np.ndarray:
        frames = np.empty((len(indices), window.height, window.width, 3), np.uint8)
        if not indices:
            return frames
        places: dict[int, list[int]] = {}
        for place, i in enumerate(indices):
            places.setdefault(i, []).append(place)
        first, last = min(indices), max(indices)
        number = first
        try:
            for number, frame in enumerate(self._opened().frames(first, last - first + 1), first):
                for place in places.pop(number, ()):
                    frames[place] = to_uint8(frame.rgb[window.slices])
        except MediaError as error:
            raise self._fault(number, str(error)) from error
        if places:
            raise self._fault(min(places), "does not decode, the video is damaged or cut off; replace it")
        return frames


def frames_in_order(clip: Clip) -> Iterator[np.ndarray]:
    """Yield every frame (h, w, 3), uint8 RGB, as :meth:`Clip.read` gives it.

    A video is decoded once; reading its frames by number would decode it from the beginning for each.

    Raises:
        DataError: a frame is damaged or missing.
    """
    if not isinstance(clip, VideoClip):
        for i in range(clip.num_frames):
            yield clip.read([i])[0]
        return
    count = 0
    try:
        with open_source(clip.path) as source:
            for frame in source.frames():
                yield to_uint8(frame.rgb)
                count += 1
    except MediaError as error:
        raise DataError(f"clip {clip.name}, frame {count}: {error}") from error
    if count != clip.num_frames:
        raise DataError(f"clip {clip.name} ({clip.path}): {count} of {clip.num_frames} frames decode; get a whole copy")
