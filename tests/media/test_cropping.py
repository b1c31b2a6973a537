"""Cropping that the container asks for: what is left is what players show."""

import struct

import av
import numpy as np
import pytest

from vsr_plugin.media import open_source
from vsr_plugin.media.display import Cropping

NOISE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)


@pytest.fixture
def clip(media, tmp_path):
    def make(name):
        tags = {"color_primaries": 6, "color_trc": 6, "colorspace": 6, "color_range": 1}
        return media.make_clip(tmp_path / name, n=3, size=(64, 96), pictures=[NOISE] * 3, tags=tags)

    return make


def crop_matroska(path, left, right, top, bottom):
    """Put the cropping in place of the description of colour."""
    data = bytearray(path.read_bytes())
    place = data.find(b"\x55\xb0")
    length = 3 + data[place + 2] - 0x80
    sides = zip((0x54CC, 0x54DD, 0x54BB, 0x54AA), (left, right, top, bottom), strict=True)
    elements = b"".join(struct.pack(">HBB", name, 0x81, side) for name, side in sides if side)
    rest = length - len(elements)
    data[place : place + length] = elements + b"\xec" + bytes([0x80 | (rest - 2)]) + bytes(rest - 2)
    path.write_bytes(data)


def crop_mp4(path, left, right, top, bottom, height=64, width=96):
    """Add a clean aperture behind what the video's sample entry holds."""
    data = bytearray(path.read_bytes())
    wide, high = width - left - right, height - top - bottom
    # The middle of what is shown is so far from the middle of the picture, in halves.
    numbers = (wide, 1, high, 1, left - right, 2, top - bottom, 2)
    box = struct.pack(">I4s8i", 40, b"clap", *numbers)
    end = None
    for name in (b"avc1", b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        place = data.rfind(name, 0, end) - 4
        (size,) = struct.unpack_from(">I", data, place)
        if name == b"avc1":
            behind = place + size
        struct.pack_into(">I", data, place, size + len(box))
        end = place
    assert data.find(b"mdat") < end  # so that the places of frames stay
    data[behind:behind] = box
    path.write_bytes(data)


@pytest.mark.parametrize(("name", "crop"), [("in.mkv", crop_matroska), ("in.mp4", crop_mp4), ("in.mov", crop_mp4)])
@pytest.mark.parametrize("sides", [(0, 0, 8, 8), (2, 6, 4, 10), (16, 0, 0, 0)])
def test_only_what_is_shown_is_read(media, clip, tmp_path, name, crop, sides):
    path = clip(name)
    with open_source(path) as source:
        stored = next(source.frames()).rgb
    left, right, top, bottom = sides
    crop(path, *sides)
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == 3
    source, _ = media.copy(path, tmp_path / "out.mp4", scale=2)
    assert (source.height, source.width) == (64 - top - bottom, 96 - left - right)
    assert any("are shown, as the file says" in line for line in source.notes)
    with open_source(path) as source:
        for frame in source.frames():
            assert np.array_equal(frame.rgb, stored[top : 64 - bottom, left : 96 - right])
    assert media.probe(tmp_path / "out.mp4").size == (2 * source.height, 2 * source.width)


def test_cropping_of_half_pixels_is_passed_over(clip):
    path = clip("in.mp4")
    crop_mp4(path, 2, 2, 0, 0, width=97)
    with open_source(path) as source:
        assert source.width == 96


def test_what_is_shown_of_a_picture():
    assert Cropping(1, 2, 3, 4).slices(20, 30) == (slice(3, 16), slice(1, 28))
    assert not Cropping(left=30).fits(20, 30)
