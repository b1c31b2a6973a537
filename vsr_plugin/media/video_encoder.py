"""Frames into packets."""

from __future__ import annotations

import av
import numpy as np

from vsr_plugin.media.colour import FromRGB
from vsr_plugin.media.frame import Frame
from vsr_plugin.media.video_layout import VideoLayout


class VideoEncoder:
    """Encodes frames as a layout says.

    Args:
        layout: What to make of the frames.
        context: An encoder set up by the layout, inside a container or not.
    """

    def __init__(self, layout: VideoLayout, context: av.VideoCodecContext) -> None:
        self._layout = layout
        self._context = context
        self._to_picture = FromRGB(layout.colour, layout.pix_fmt)
        self._num_frames = 0
        self._last: int | None = None

    def encode(self, frame: Frame, index: int, offset: int) -> list[av.Packet]:
        """Take a frame and return what packets are ready.

        Args:
            frame: An upscaled frame.
            index: Its number, from 0 at the first frame of the output; the timestamp of images.
            offset: What to take off its timestamp, in units of the source.

        Raises:
            FFmpegError: the encoder fails.
        """
        layout = self._layout
        self._num_frames += 1
        rgb = frame.rgb
        if layout.bake:
            rgb = np.ascontiguousarray(layout.source.orientation.apply(rgb))
        picture = self._to_picture(rgb)
        picture.time_base = layout.unit
        picture.pts = self._last = layout.after(self._last, layout.in_units(layout.pts(frame, index) - offset))
        picture.duration = max(1, layout.in_units(frame.duration or 1))
        return self._context.encode(picture)

    def flush(self) -> list[av.Packet]:
        """Return the packets that the encoder still holds; nothing can be encoded after it."""
        packets = self._context.encode(None)
        if self._layout.codec == "libx265" and self._num_frames <= 2:
            # x265 takes the distance of decoding times from its third frame, and from unset memory without one.
            for packet in packets:
                packet.dts = packet.pts
        return packets
