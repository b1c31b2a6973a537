"""Padding in space and in time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vsr_plugin.ops.indices import mirrored_indices, neighbourhood_indices
from vsr_plugin.ops.padding import pad_to_multiple


def published_window(i: int, t: int, padding: int) -> list[int]:
    """The window of MMagic's IconVSRNet, taken from its extended sequence; ``IndexError`` where that fails."""
    before, after = {2: ([4, 3], [-4, -5]), 3: ([6, 5, 4], [-5, -6, -7])}[padding]
    frames = list(range(t))
    extended = [frames[j] for j in before] + frames + [frames[j] for j in after]
    return extended[i : i + 2 * padding + 1]


@pytest.mark.parametrize("padding", [2, 3])
def test_windows_equal_the_published_ones_where_those_exist(padding: int) -> None:
    for t in range(2 * padding + 1, 16):
        for i in range(t):
            assert neighbourhood_indices(i, t, padding) == published_window(i, t, padding), (i, t)


@pytest.mark.parametrize("padding", [2, 3])
def test_the_published_rule_fails_in_shorter_sequences(padding: int) -> None:
    with pytest.raises(IndexError):
        published_window(0, 2 * padding, padding)


@pytest.mark.parametrize("padding", range(5))
@pytest.mark.parametrize("t", range(1, 13))
def test_windows_are_valid_for_every_length(t: int, padding: int) -> None:
    for i in range(t):
        window = neighbourhood_indices(i, t, padding)
        assert len(window) == 2 * padding + 1
        assert window[padding] == i
        assert all(0 <= j < t for j in window)
        # What is inside the sequence stays in its place.
        for k, j in enumerate(range(i - padding, i + padding + 1)):
            assert not 0 <= j < t or window[k] == j
        # At the very ends no frame is seen twice; one frame further in, the published rule already repeats one.
        if t > 2 * padding and i in (0, t - 1):
            assert len(set(window)) == len(window)


@pytest.mark.parametrize("padding", range(5))
@pytest.mark.parametrize("t", range(1, 13))
def test_windows_are_the_same_in_both_directions(t: int, padding: int) -> None:
    for i in range(t):
        reversed_time = [t - 1 - j for j in neighbourhood_indices(t - 1 - i, t, padding)[::-1]]
        assert neighbourhood_indices(i, t, padding) == reversed_time


@pytest.mark.parametrize(("t", "expected"), [(1, [0] * 5), (2, [0, 1, 0, 1, 0]), (3, [2, 1, 0, 1, 2])])
def test_windows_of_short_sequences_are_reflected(t: int, expected: list[int]) -> None:
    assert neighbourhood_indices(0, t, 2) == expected


@pytest.mark.parametrize("multiple", [2, 4, 8])
@pytest.mark.parametrize(("h", "w"), [(9, 13), (16, 8), (12, 10), (15, 16), (8, 9)])
def test_padding_reflects_where_it_can(h: int, w: int, multiple: int) -> None:
    images = torch.rand(2, 3, h, w)
    expected = F.pad(images, (0, -w % multiple, 0, -h % multiple), mode="reflect")
    assert torch.equal(pad_to_multiple(images, multiple), expected)


@pytest.mark.parametrize("lead", [(), (2,), (2, 5, 3)])
def test_padding_takes_any_leading_dimensions(lead: tuple[int, ...]) -> None:
    images = torch.rand(*lead, 5, 7)
    padded = pad_to_multiple(images, 4)
    assert padded.shape == (*lead, 8, 8)
    assert torch.equal(padded[..., :5, :7], images)


@pytest.mark.parametrize(
    ("length", "expected"),
    [(1, [0, 0, 0, 0]), (2, [0, 1, 0, 0]), (3, [0, 1, 2, 1]), (5, [0, 1, 2, 3, 4, 3, 2, 1])],
)
@pytest.mark.parametrize("axis", [-1, -2])
def test_padding_replicates_what_reflection_leaves(length: int, expected: list[int], axis: int) -> None:
    line = torch.arange(length, dtype=torch.float32)
    images = line.view(1, 1, 1, -1).expand(1, 1, 8, -1)
    padded = pad_to_multiple(images if axis == -1 else images.mT, 4)
    padded = padded if axis == -1 else padded.mT
    assert mirrored_indices(length, 4) == expected
    assert torch.equal(padded, torch.tensor(expected).float().expand(1, 1, 8, -1))


def test_padding_reflects_one_side_where_the_other_is_too_small() -> None:
    images = torch.rand(1, 1, 1, 7)
    expected = F.pad(images, (0, 1, 0, 0), mode="reflect").expand(1, 1, 4, 8)
    assert torch.equal(pad_to_multiple(images, 4), expected)


def test_padding_returns_what_already_fits() -> None:
    images = torch.rand(1, 3, 8, 12)
    assert pad_to_multiple(images, 4) is images


def test_padding_passes_gradients() -> None:
    for h, w in ((5, 7), (1, 2)):
        images = torch.rand(1, 3, h, w, requires_grad=True)
        pad_to_multiple(images, 4).sum().backward()
        # Every value of the result came from one of the input.
        assert images.grad.sum() == 3 * (h + -h % 4) * (w + -w % 4)
        assert (images.grad >= 1).all()
