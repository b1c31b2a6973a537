"""Frames in, frames out: videos through PyAV, images through Pillow and OpenCV.

Nothing here prints; sources and sinks collect ``notes`` for the caller.
"""

from vsr_plugin.media.display import Orientation
from vsr_plugin.media.encoding import Encoding
from vsr_plugin.media.images.image_folder import IMAGE_SUFFIXES, ImageFolderSource, natural_key
from vsr_plugin.media.open import VIDEO_SUFFIXES, open_segmented, open_sink, open_source
from vsr_plugin.media.segmented import FrameSink
from vsr_plugin.media.source import Frame, FrameSource
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
    "open_segmented",
    "open_sink",
    "open_source",
]
