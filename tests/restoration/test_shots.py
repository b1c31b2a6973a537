"""Where an input is cut, and the list of shots that a scan leaves."""

import json
from itertools import pairwise
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest

from vsr_plugin.media import Frame, open_source
from vsr_plugin.media.source import Entry, Notes
from vsr_plugin.ops.windows import fade_frames
from vsr_plugin.restoration.pipeline import StoppedError
from vsr_plugin.restoration.shots import SEGMENT_FRAMES, Scan, Shot, ShotPlan


def frames(*lengths: int) -> list[Frame]:
    """Shots of the given lengths that no detector can mistake; the first pixel holds the frame's number."""
    result = []
    for shot, length in enumerate(lengths):
        rng = np.random.default_rng(shot)
        picture = np.kron(rng.integers(0, 256, (4, 6, 3), np.uint8), np.ones((4, 4, 1), np.uint8))
        for _ in range(length):
            rgb = picture.copy()
            rgb[0, 0] = (*divmod(len(result), 256), 0)
            result.append(Frame(rgb, pts=10 * len(result) + 5, duration=10, entry=Entry(len(result) // 8 * 8, 0, 5)))
    return result


class Source:
    """A video of given frames that counts how often it is read."""

    kind = "video"

    def __init__(self, *lengths: int) -> None:
        self._frames = frames(*lengths)
        self.notes = Notes()
        self.passes = 0

    def numbers(self, start, num_frames):
        return None

    def frames(self, start, num_frames):
        self.passes += 1
        yield from self._frames[start : None if num_frames is None else start + num_frames]
        self.notes.add("read to its end")


def scan(folder, plan: ShotPlan, source: Source, start: int = 0, num_frames: int | None = None) -> Scan:
    return Scan(source, start, num_frames, plan, folder / "shots.json")


def cut(folder, plan: ShotPlan, *lengths: int) -> list[Shot]:
    found = list(scan(folder, plan, Source(*lengths)).shots(Event()))
    for shot in found:
        assert 0 <= shot.first <= shot.start < shot.stop <= shot.first + shot.frames
        assert shot.first_pts == 5
        assert shot.entry.number == shot.first // 8 * 8
        lead = range(shot.start, shot.start + shot.lead)
        assert [i for segment in (lead, *shot.segments()) for i in segment] == list(range(shot.start, shot.stop))
    assert [shot.number for shot in found] == list(range(len(found)))
    return found


def kept(shots: list[Shot]) -> list[int]:
    return [i for shot in shots for i in range(shot.start, shot.stop)]


def test_without_cuts_all_is_one_shot(tmp_path):
    (shot,) = cut(tmp_path, ShotPlan(scene_cuts=False), 10, 12)
    assert (shot.first, shot.frames, shot.start, shot.stop, shot.is_part) == (0, 22, 0, 22, False)


def test_shots_end_at_cuts(tmp_path):
    found = cut(tmp_path, ShotPlan(scene_cuts=True), 10, 12, 9)
    assert [(shot.start, shot.stop) for shot in found] == [(0, 10), (10, 22), (22, 31)]
    assert len({shot.check for shot in found}) == 3


@pytest.mark.parametrize("n", [1, 4, 9, 10, 11, 14, 17, 23, 40])
@pytest.mark.parametrize(("window", "overlap"), [(1, 0), (4, 0), (4, 3), (5, 2), (7, 10), (6, 4), (12, 5), (14, 9)])
def test_windows_keep_every_frame_once_with_its_context(tmp_path, n, window, overlap):
    found = cut(tmp_path, ShotPlan(False, window, overlap), n)
    fade = fade_frames(window, overlap)
    assert kept(found) == list(range(n))
    for k, shot in enumerate(found):
        # Joints lie in the middle of the frames that two windows contribute to.
        before, after = (0 if end else fade for end in (k == 0, k == len(found) - 1))
        joint, next_joint = shot.start + before, shot.stop + after
        assert (shot.first, shot.first + shot.frames) == (max(0, joint - overlap), min(n, next_joint + overlap))
        assert next_joint - joint <= window or len(found) == 1
        if len(found) > 1:
            assert next_joint - joint >= window // 2


@pytest.mark.parametrize("n", [25, 26, 31, 40])
def test_frames_around_a_joint_are_read_by_both_windows_and_kept_by_the_second(tmp_path, n):
    found = cut(tmp_path, ShotPlan(False, 12, 5), n)
    assert len(found) > 1
    assert (found[0].lead, found[-1].tail) == (0, 0)
    for shot, after in pairwise(found):
        assert shot.tail == after.lead == 4
        # What the first contributes to follows what it keeps, and it has read context behind it.
        assert after.start == shot.stop
        assert shot.joints[-1] == after.joints[0] == range(after.start, after.start + 4)
        assert shot.first + shot.frames - shot.stop >= shot.tail + 1
        assert after.start - after.first >= 1


def test_windows_end_at_cuts(tmp_path):
    found = cut(tmp_path, ShotPlan(True, 4, 2), 9, 3 + 4, 10)
    assert kept(found) == list(range(26))
    for shot in found:
        scene = next(s for s in (range(9), range(9, 16), range(16, 26)) if shot.start in s)
        assert {shot.first, shot.first + shot.frames - 1} <= set(scene)


def test_segments_are_of_one_length(tmp_path):
    (shot,) = cut(tmp_path, ShotPlan(False), 2 * SEGMENT_FRAMES + 5)
    assert [len(segment) for segment in shot.segments()] == [SEGMENT_FRAMES, SEGMENT_FRAMES, 5]


def test_no_frames(tmp_path):
    for plan in (ShotPlan(True), ShotPlan(True, 4, 2)):
        assert cut(tmp_path, plan) == []
        (tmp_path / "shots.json").unlink()


def test_a_part_of_the_input(tmp_path):
    found = scan(tmp_path, ShotPlan(True), Source(10, 12, 9), start=3, num_frames=15)
    assert [(shot.start, shot.stop) for shot in found.shots(Event())] == [(0, 7), (7, 15)]
    assert (found.num_shots, found.num_frames) == (2, 15)


def test_a_list_that_is_complete_is_not_made_again(tmp_path):
    plan = ShotPlan(True, 4, 2)
    first = list(scan(tmp_path, plan, Source(9, 7, 10)).shots(Event()))
    source = Source(9, 7, 10)
    again = scan(tmp_path, plan, source)
    assert list(again.shots(Event())) == first
    assert (source.passes, source.notes, again.num_frames) == (0, ["read to its end"], 26)


def test_a_list_that_is_not_complete_is_gone_on_with(tmp_path):
    first = list(scan(tmp_path, ShotPlan(True), Source(9, 7, 10)).shots(Event()))
    listed = json.loads((tmp_path / "shots.json").read_text())
    assert listed["complete"]
    listed.update(complete=False, shots=listed["shots"][:2], notes=[])
    (tmp_path / "shots.json").write_text(json.dumps(listed))
    source = Source(9, 7, 10)
    shots = scan(tmp_path, ShotPlan(True), source).shots(Event())
    assert [next(shots), next(shots)] == first[:2]
    assert source.passes == 0  # what is known can be worked at before anything is read
    assert list(shots) == first[2:]
    assert json.loads((tmp_path / "shots.json").read_text())["complete"]


def test_a_scan_that_is_stopped_lists_no_shot_that_it_has_not_seen_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("vsr_plugin.restoration.shots._WRITE_SECONDS", 0)
    stop = Event()
    shots = scan(tmp_path, ShotPlan(True), Source(9, 7, 30)).shots(stop)
    next(shots)
    stop.set()
    with pytest.raises(StoppedError):
        list(shots)
    listed = json.loads((tmp_path / "shots.json").read_text())
    assert (listed["complete"], [shot["stop"] for shot in listed["shots"]]) == (False, [9])


def test_images_are_not_read_for_it(tmp_path, monkeypatch):
    source = SimpleNamespace(kind="folder", notes=Notes(), numbers=lambda start, num_frames: range(start, 30))
    found = list(scan(tmp_path, ShotPlan(False, 12, 5), source, start=2).shots(Event()))
    assert kept(found) == list(range(28))
    assert {(shot.check, shot.entry, shot.first_pts) for shot in found} == {(None, None, None)}


def test_a_shot_is_entered_where_the_video_allows_it(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", n=40, size=(16, 24), options=dict(g="8", sc_threshold="0"))
    with open_source(clip) as source:
        found = list(Scan(source, 0, None, ShotPlan(False, 12, 5), tmp_path / "shots.json").shots(Event()))
    assert [shot.entry.number for shot in found] == [shot.first // 8 * 8 for shot in found]
