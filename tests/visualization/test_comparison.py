import numpy as np

from vsr_plugin.visualization.comparison import comparison_picture, most_different_crop


def test_the_crop_is_where_the_frames_differ():
    a = np.zeros((60, 80, 3), np.uint8)
    b = a.copy()
    b[40:50, 60:72] = 255
    top, left = most_different_crop(a, b, (10, 12))
    assert (top, left) == (40, 60)
    b[:] = 0
    b[55:, 75:] = 255
    assert most_different_crop(a, b, (10, 12)) == (50, 68)


def test_every_version_is_shown_enlarged_below_the_whole_frame():
    colours = {"bicubic": (200, 0, 0), "BasicVSR": (0, 200, 0), "ground truth": (0, 0, 200)}
    versions = {label: np.full((90, 160, 3), colour, np.uint8) for label, colour in colours.items()}
    picture = np.asarray(comparison_picture(versions, main="BasicVSR", width=640))
    assert picture.shape[1] == 640
    assert tuple(picture[60, 600]) == colours["BasicVSR"]
    below = picture[-20]
    assert [tuple(below[x]) for x in (60, 320, 600)] == list(colours.values())


def test_frames_smaller_than_a_crop():
    tiny = {label: np.zeros((4, 4, 3), np.uint8) for label in ("bicubic", "BasicVSR")}
    assert comparison_picture(tiny, main="BasicVSR").width == 1280
