"""Clips: sequences of frames that can be read at any place, from images, videos or packed files."""

from .clip import Clip, Window
from .find import find_clips, read_clip_names
from .image_clip import ImageClip
from .packed_clip import PackedClip
from .video_clip import VideoClip

__all__ = ["Clip", "ImageClip", "PackedClip", "VideoClip", "Window", "find_clips", "read_clip_names"]
