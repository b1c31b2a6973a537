"""Frames in, frames out: videos through PyAV, images through Pillow and OpenCV.

Nothing here prints; sources and sinks collect ``notes`` for the caller.
"""

from vsr_plugin.media.encoding import Encoding
from vsr_plugin.media.frame import Frame
from vsr_plugin.media.image_folder import ImageFolderSource
from vsr_plugin.media.natural_sort import natural_key
from vsr_plugin.media.orientation import Orientation
from vsr_plugin.media.sink import VIDEO_SUFFIXES, FrameSink, open_sink
from vsr_plugin.media.source import IMAGE_SUFFIXES, FrameSource, open_source
from vsr_plugin.media.video_reader import VideoSource

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Encoding",
    "Frame",
    "FrameSink",
    "FrameSource",
    "ImageFolderSource",
    "Orientation",
    "VideoSource",
    "natural_key",
    "open_sink",
    "open_source",
]
