"""Ground truth that fits, or does not."""

from types import SimpleNamespace

import pytest

from vsr_plugin.errors import MediaError
from vsr_plugin.restoration import RestoreOptions
from vsr_plugin.restoration.quality import check_ground_truth, surplus_note


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
