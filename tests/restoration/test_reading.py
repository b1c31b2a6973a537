"""Runs of frames by number, each frame decoded once as long as they are asked for in rising order."""

from contextlib import closing

import numpy as np
import pytest

from vsr_plugin.media import Frame, open_source
from vsr_plugin.media.source import Entry, Notes
from vsr_plugin.restoration.shots import RangeReader


class Source:
    """Ten frames that say their number, and count what is decoded of them."""

    def __init__(self, kind: str = "video") -> None:
        self.kind, self.notes, self.decoded, self.entries = kind, Notes(), [], []

    def frames(self, start, num_frames=None, entry=None):
        self.entries.append(entry)
        for i in range(entry.number if entry is not None else start if self.kind == "folder" else 0, 10):
            self.decoded.append(i)
            if i >= start:
                yield Frame(np.full((4, 4, 3), i, np.uint8))


def numbers(reader: RangeReader, *read) -> list[int]:
    return [int(frame.rgb[0, 0, 0]) for frame in reader.read(*read)]


def test_rising_runs_are_one_pass():
    source = Source()
    with closing(RangeReader(source, 2)) as reader:
        assert [numbers(reader, 0, 2), numbers(reader, 2, 1), numbers(reader, 4, 2)] == [[2, 3], [4], [6, 7]]
    assert source.decoded == list(range(8))


def test_runs_that_overlap_are_one_pass():
    source = Source()
    with closing(RangeReader(source, 0, keep=3)) as reader:
        assert [numbers(reader, 0, 5), numbers(reader, 2, 5)] == [[0, 1, 2, 3, 4], [2, 3, 4, 5, 6]]
        assert numbers(reader, 5, 1) == [5]
    assert source.decoded == list(range(7))


def test_going_back_begins_anew():
    source = Source()
    with closing(RangeReader(source, 0)) as reader:
        assert [numbers(reader, 4, 2), numbers(reader, 1, 1)] == [[4, 5], [1]]
    assert source.decoded == [*range(6), *range(2)]


def test_it_goes_ahead_by_the_entry_that_is_nearest():
    source = Source()
    with closing(RangeReader(source, 1)) as reader:
        assert numbers(reader, 0, 2, Entry(0, 0, 0)) == [1, 2]
        assert numbers(reader, 2, 1, Entry(2, 0, 0)) == [3]  # which lies behind
        assert numbers(reader, 7, 2, Entry(6, 0, 0)) == [8, 9]
        assert reader.entered
    assert source.decoded == [0, 1, 2, 3, 6, 7, 8, 9]


def test_images_between_runs_are_not_read():
    source = Source("folder")
    with closing(RangeReader(source, 0)) as reader:
        assert [numbers(reader, 0, 1), numbers(reader, 5, 2)] == [[0], [5, 6]]
    assert source.decoded == [0, 5, 6]


def test_as_many_as_there_are():
    with closing(RangeReader(Source(), 0)) as reader:
        assert numbers(reader, 8, 5) == [8, 9]


@pytest.mark.parametrize("gop", ["8", "250"])
def test_frames_are_those_of_one_pass(media, tmp_path, gop):
    clip = media.make_clip(tmp_path / "in.mp4", n=40, size=(16, 24), options=dict(g=gop, crf="20"))
    with open_source(clip) as source:
        frames = list(source.frames())
        with closing(RangeReader(source, 0)) as reader:
            for first in (0, 20, 33, 9):
                for frame, read in zip(
                    frames[first : first + 7], reader.read(first, 7, frames[first].entry), strict=True
                ):
                    assert np.array_equal(frame.rgb, read.rgb)
                    assert (frame.pts, frame.duration) == (read.pts, read.duration)
