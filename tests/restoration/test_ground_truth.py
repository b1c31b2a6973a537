"""Ground truth by number, in the order in which windows ask for it."""

from types import SimpleNamespace

import numpy as np
import pytest

from vsr_plugin.errors import MediaError
from vsr_plugin.media import Frame
from vsr_plugin.restoration import RestoreOptions
from vsr_plugin.restoration.ground_truth import GroundTruth, check_ground_truth, surplus_note


class Source:
    """Ten frames that say their number, and count how often they are read."""

    path = "gt.mp4"

    def __init__(self):
        self.read = []

    def frames(self, start, num_frames):
        for i in range(start, 10 if num_frames is None else min(10, start + num_frames)):
            self.read.append(i)
            yield Frame(np.full((4, 4, 3), i, np.uint8))


def numbers(gt: GroundTruth, indices: list[int]) -> list[int]:
    return [int(gt.at(i)[0, 0, 0]) for i in indices]


def test_frames_in_rising_order_with_gaps():
    source = Source()
    assert numbers(GroundTruth(source, 2, None), [0, 1, 4]) == [2, 3, 6]
    assert source.read == [2, 3, 4, 5, 6]


def test_frames_that_were_passed_are_given_once_they_were_held():
    source = Source()
    gt = GroundTruth(source, 0, None)
    gt.hold(range(2, 4))
    assert numbers(gt, [0, 1, 4, 5, 2, 3, 6]) == [0, 1, 4, 5, 2, 3, 6]
    # Held for as long as it is needed, read once.
    assert source.read == list(range(7))
    assert not gt._held


def test_held_frames_may_be_asked_for_in_order_after_all():
    gt = GroundTruth(Source(), 0, None)
    gt.hold(range(1, 3))
    assert numbers(gt, [1, 2, 3]) == [1, 2, 3]
    assert not gt._held


def test_too_few_frames():
    with pytest.raises(MediaError, match=r"gt\.mp4: ground truth ends before frame 12; it must have as many frames as"):
        GroundTruth(Source(), 2, 5).at(10)


def of_length(length: int | None) -> SimpleNamespace:
    return SimpleNamespace(path="gt.mp4", height=12, width=16, num_frames_exact=length)


def check_lengths(length: int | None, gt_length: int | None, **options) -> None:
    check_ground_truth(of_length(gt_length), of_length(length), (12, 16), RestoreOptions(**options))


def test_a_surplus_is_reported():
    note = surplus_note(of_length(40), of_length(20), RestoreOptions())
    assert note.startswith("ground truth gt.mp4 has 40 frames, the input 20: frame by frame from the first")


@pytest.mark.parametrize(
    ("length", "gt_length", "options"), [(20, 20, {}), (20, 40, dict(num_frames=5)), (None, 40, {}), (20, None, {})]
)
def test_no_surplus(length, gt_length, options):
    assert surplus_note(of_length(gt_length), of_length(length), RestoreOptions(**options)) is None


@pytest.mark.parametrize(
    ("length", "gt_length", "options"),
    [
        (20, 20, {}),
        (20, 21, {}),
        (20, 12, dict(start=2, num_frames=10)),
        (20, 20, dict(start=15, num_frames=10)),
        (None, 12, {}),
        (20, None, {}),
    ],
    ids=str,
)
def test_lengths_that_fit_or_are_not_known(length, gt_length, options):
    check_lengths(length, gt_length, **options)


@pytest.mark.parametrize(
    ("gt_length", "options"),
    [(19, {}), (11, dict(start=2, num_frames=10)), (19, dict(start=15, num_frames=10)), (1, dict(start=5))],
    ids=str,
)
def test_ground_truth_that_is_known_to_be_short(gt_length, options):
    with pytest.raises(MediaError, match=rf"gt\.mp4: ground truth ends before frame {gt_length}; .* --num-frames"):
        check_lengths(20, gt_length, **options)
