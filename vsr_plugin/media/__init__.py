"""Frames in, frames out: videos through PyAV, images through Pillow and OpenCV.

Nothing here prints; sources and sinks collect ``notes`` for the caller.
"""

from .encoding import Encoding
from .frame import Frame
from .image_folder import ImageFolderSource
from .natural_sort import natural_key
from .orientation import Orientation
from .sink import VIDEO_SUFFIXES, FrameSink, open_sink
from .source import IMAGE_SUFFIXES, FrameSource, open_source
from .video_reader import VideoSource

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
