"""Clips: sequences of frames that can be read at any place, from images, videos or packed files."""

from vsr_plugin.data.clips.clip import Clip, ImageClip, VideoClip, Window
from vsr_plugin.data.clips.find import Places, file_clip, find_clips, first_there, read_clip_names
from vsr_plugin.data.clips.packed import PackedClip

__all__ = [
    "Clip",
    "ImageClip",
    "PackedClip",
    "Places",
    "VideoClip",
    "Window",
    "file_clip",
    "find_clips",
    "first_there",
    "read_clip_names",
]
