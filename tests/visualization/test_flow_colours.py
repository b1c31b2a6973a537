import numpy as np
import pytest

from vsr_plugin.visualization.flow_picture import colour_wheel, flow_to_colour


def colour(x: float, y: float, longest: float = 1.0) -> list[int]:
    return flow_to_colour(np.array([[[x, y]]]), longest)[0, 0].tolist()


def test_directions_of_unit_length():
    assert colour(1, 0) == [255, 0, 0]
    # A quarter of the wheel's 55 steps: 13.75 of the 15 from red to yellow; and so on.
    assert colour(0, 1) == [255, 234, 0]
    assert colour(-1, 0) == [0, 197, 255]
    assert colour(0, -1) == [103, 0, 255]


def test_length_is_saturation():
    assert colour(0, 0) == [255, 255, 255]
    assert colour(0.5, 0) == [255, 128, 128]
    assert colour(2, 0, longest=4.0) == [255, 128, 128]


def test_longer_than_the_scale_is_darker():
    assert colour(3, 0) == [191, 0, 0]


def test_by_default_the_longest_flow_is_saturated():
    flow = np.array([[[5.0, 0.0], [0.0, 0.0]]])
    assert flow_to_colour(flow).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    assert flow_to_colour(np.zeros((2, 3, 2))).min() == 255


def test_flow_that_is_not_finite_is_black():
    assert colour(float("nan"), 0) == [0, 0, 0]


@pytest.mark.parametrize("size", [40, 41])
def test_the_wheel_is_a_legend_of_it(size):
    wheel = colour_wheel(size)
    middle = size // 2
    assert wheel[0, 0].tolist() == [0, 0, 0]
    assert wheel[middle, -1] == pytest.approx([255, 10, 10], abs=20)
    assert wheel[middle, middle].min() > 235
