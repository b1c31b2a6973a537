from contextlib import closing
from itertools import pairwise

import numpy as np
import pytest

from vsr_plugin.media import Frame
from vsr_plugin.restoration.shots import SEGMENT_FRAMES, PieceCutter, PiecePlan


def frames(*lengths: int) -> list[Frame]:
    """Shots of the given lengths that no detector can mistake; the first pixel holds the frame's number."""
    result = []
    for shot, length in enumerate(lengths):
        rng = np.random.default_rng(shot)
        picture = np.kron(rng.integers(0, 256, (4, 6, 3), np.uint8), np.ones((4, 4, 1), np.uint8))
        for _ in range(length):
            rgb = picture.copy()
            rgb[0, 0] = (*divmod(len(result), 256), 0)
            result.append(Frame(rgb, pts=10 * len(result), duration=10))
    return result


def cut(folder, plan, stream, wanted=lambda number, start: True):
    """The pieces of a stream as (start, numbers of the frames read, of the frames kept)."""
    found = []
    cutter = PieceCutter(plan, folder, wanted)
    with closing(cutter):
        for piece in cutter.pieces(iter(stream)):
            read = [int(f[0, 0, 0]) * 256 + int(f[0, 0, 1]) for f in piece.frames]
            found.append((piece.start, read, [read[i] for i in piece.keep]))
            assert [info.pts for info in piece.infos] == [10 * i for i in found[-1][2]]
            assert [i for segment in piece.segments() for i in segment] == list(piece.keep)
            piece.frames.close()
    return found, cutter


def test_without_cuts_all_is_one_piece(tmp_path):
    found, cutter = cut(tmp_path, PiecePlan(scene_cuts=False), frames(10, 12))
    assert found == [(0, list(range(22)), list(range(22)))]
    assert (cutter.num_frames, cutter.num_pieces, cutter.first_pts) == (22, 1, 0)


def test_scenes_are_pieces(tmp_path):
    found, cutter = cut(tmp_path, PiecePlan(scene_cuts=True), frames(10, 12, 9))
    assert [(start, kept[0], len(kept)) for start, _, kept in found] == [(0, 0, 10), (10, 10, 12), (22, 22, 9)]
    assert cutter.num_pieces == 3


def test_unwanted_pieces_are_counted_but_not_kept(tmp_path):
    asked = []

    def wanted(number, start):
        asked.append((number, start))
        return number == 1

    found, cutter = cut(tmp_path, PiecePlan(scene_cuts=True), frames(10, 12, 9), wanted)
    assert [start for start, *_ in found] == [10]
    assert asked == [(0, 0), (1, 10), (2, 22)]
    assert (cutter.num_frames, cutter.num_pieces) == (31, 3)


@pytest.mark.parametrize("n", [1, 4, 9, 10, 11, 14, 17, 23, 40])
@pytest.mark.parametrize(("window", "overlap"), [(1, 0), (4, 0), (4, 3), (5, 2), (7, 10), (6, 4), (12, 5), (14, 9)])
def test_windows_keep_every_frame_once_with_its_context(tmp_path, n, window, overlap):
    plan = PiecePlan(False, window, overlap)
    found, _ = cut(tmp_path, plan, frames(n))
    assert [i for *_, kept in found for i in kept] == list(range(n))
    for k, (start, read, kept) in enumerate(found):
        assert start == kept[0]
        # Joints lie in the middle of the frames that two windows contribute to.
        before, after = (0 if end else plan.fade for end in (k == 0, k == len(found) - 1))
        joint, next_joint = kept[0] + before, kept[-1] + 1 + after
        assert read == list(range(max(0, joint - overlap), min(n, next_joint + overlap)))
        assert next_joint - joint <= window or len(found) == 1
        if len(found) > 1:
            assert next_joint - joint >= window // 2


@pytest.mark.parametrize("n", [25, 26, 31, 40])
def test_frames_around_a_joint_are_read_by_both_windows_and_kept_by_the_second(tmp_path, n):
    plan = PiecePlan(False, 12, 5)
    assert plan.fade == 2
    cutter = PieceCutter(plan, tmp_path, lambda number, start: True)
    pieces = list(cutter.pieces(iter(frames(n))))
    assert len(pieces) > 1
    assert (pieces[0].lead, pieces[-1].tail) == (0, 0)
    for piece, after in pairwise(pieces):
        assert piece.tail == after.lead == 4
        # What the first contributes to follows what it keeps, and it has read context behind it.
        assert after.start == piece.start + len(piece.infos)
        assert len(piece.frames) - piece.keep.stop >= piece.tail + 1
        lead, core = after.segments()
        assert (len(lead), lead.stop) == (4, core.start)
        assert after.margin >= 1


def test_windows_end_at_cuts(tmp_path):
    found, _ = cut(tmp_path, PiecePlan(True, 4, 2), frames(9, 3 + 4, 10))
    assert [i for *_, kept in found for i in kept] == list(range(26))
    for _, read, kept in found:
        scene = next(s for s in (range(9), range(9, 16), range(16, 26)) if kept[0] in s)
        assert set(read) <= set(scene)


def test_segments_are_of_one_length(tmp_path):
    cutter = PieceCutter(PiecePlan(False), tmp_path, lambda number, start: True)
    (piece,) = cutter.pieces(iter(frames(2 * SEGMENT_FRAMES + 5)))
    assert [len(segment) for segment in piece.segments()] == [SEGMENT_FRAMES, SEGMENT_FRAMES, 5]


def test_no_frames(tmp_path):
    for plan in (PiecePlan(True), PiecePlan(True, 4, 2)):
        assert cut(tmp_path, plan, [])[0] == []
