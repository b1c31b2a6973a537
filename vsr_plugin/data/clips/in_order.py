"""All frames of a clip, first to last, one in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vsr_plugin.data.clips.clip import Clip
from vsr_plugin.data.clips.video_clip import VideoClip
from vsr_plugin.errors import DataError, MediaError
from vsr_plugin.media import open_source
from vsr_plugin.ops.frames import to_uint8


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
