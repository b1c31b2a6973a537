from itertools import islice

import cv2
import numpy as np
import pytest

from vsr_plugin.inference.scene_cuts import CutDetector, mark_cuts
from vsr_plugin.media import open_source


def cuts(frames, **options) -> list[int]:
    """Numbers of the frames that begin a shot; checks that every frame is answered for, in order."""
    frames = list(frames)
    marked = list(mark_cuts(iter(frames), **options))
    assert all(frame is original for (frame, _), original in zip(marked, frames, strict=True))
    return [i for i, (_, cut) in enumerate(marked) if cut]


def shot(seed: int, n: int, speed: int = 2, size: tuple[int, int] = (72, 128)) -> list[np.ndarray]:
    """A textured picture that pans by ``speed`` pixels a frame, in colours and brightness of its own."""
    rng = np.random.default_rng(seed)
    h, w = size
    blocks = rng.integers(0, 256, (6, 24, 3), np.uint8)
    tint = rng.uniform(0.2, 1, 3)
    wide = cv2.resize(blocks, (4 * w, h), interpolation=cv2.INTER_CUBIC) * tint
    return [np.ascontiguousarray(wide[:, i * speed : i * speed + w]).astype(np.uint8) for i in range(n)]


def read(path, start=0, num_frames=None, size=(128, 72)):
    with open_source(path) as source:
        return [cv2.resize(frame.rgb, size) for frame in source.frames(start, num_frames)]


# Found by eye on contact sheets: bikes is cut from six shots, the others are one each.
REAL = {"bikes": [30, 76, 137, 187, 242], "bigbuckbunny": [], "carphone_pristine": []}


@pytest.mark.parametrize("name", REAL)
def test_real_clips(real_clip, name):
    assert cuts(read(real_clip(name))) == REAL[name]


def test_real_clips_joined(real_clip):
    clips = [read(real_clip(name), 0, 20) for name in REAL]
    assert cuts([frame for clip in (*clips, *reversed(clips)) for frame in clip]) == [20, 40, 80, 100]


def test_size_and_depth_hardly_matter(real_clip):
    frames = read(real_clip("bikes"), 60, 30, size=(320, 136))
    assert cuts(frames) == [16]
    assert cuts([frame.astype(np.uint16) * 257 for frame in frames]) == [16]
    assert cuts([np.ascontiguousarray(frame[:33, :47]) for frame in frames]) == [16]
    # Frames smaller than a thumbnail.
    assert cuts([cv2.resize(frame, (48, 32), interpolation=cv2.INTER_AREA) for frame in frames]) == [16]


@pytest.mark.parametrize("seed", range(6))
def test_hard_cuts(seed):
    assert cuts([*shot(seed, 12), *shot(seed + 100, 12), *shot(seed + 200, 12)]) == [12, 24]


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("level", [0, 255])
def test_flashes_and_dropped_frames_are_no_cuts(length, level):
    frames = shot(1, 30)
    frames[12 : 12 + length] = [np.full_like(frames[0], level)] * length
    assert cuts(frames) == []


def test_a_brighter_flash_of_the_same_picture():
    frames = shot(2, 24)
    frames[10] = np.minimum(frames[10].astype(int) * 3 + 60, 255).astype(np.uint8)
    assert cuts(frames) == []


@pytest.mark.parametrize("length", [8, 12, 25])
def test_fades_and_dissolves_are_no_cuts(length):
    first, second = shot(3, 40), shot(4, 40)
    fading = [(f * (1 - i / length)).astype(np.uint8) for i, f in enumerate(first[:length])]
    rising = [(f * (i / length)).astype(np.uint8) for i, f in enumerate(second[:length])]
    mixed = [
        cv2.addWeighted(f, 1 - i / length, s, i / length, 0) for i, (f, s) in enumerate(zip(first, second, strict=True))
    ]
    black = [np.zeros_like(first[0])] * 5
    assert cuts([*first[:10], *fading, *black, *rising, *second[length:]]) == []
    assert cuts([*first[:10], *mixed[:length], *second[length:]]) == []


@pytest.mark.parametrize("speed", [5, 10, 15])
def test_fast_pans_are_no_cuts(speed):
    assert cuts(shot(5, 24, speed=speed)) == []


def test_a_change_of_brightness_is_no_cut():
    frames = shot(6, 24)
    assert cuts([*frames[:12], *((f * 0.5).astype(np.uint8) for f in frames[12:])]) == []


@pytest.mark.parametrize("sigma", [5, 60])
def test_noise_is_no_cut_and_hides_none(sigma):
    rng = np.random.default_rng(0)
    noisy = [np.clip(f + rng.normal(0, sigma, f.shape), 0, 255).astype(np.uint8) for f in [*shot(7, 15), *shot(8, 15)]]
    assert cuts(noisy) == [15]
    assert cuts(list(rng.integers(0, 256, (30, 72, 128, 3), np.uint8))) == []


def test_black_frames():
    black = [np.zeros((72, 128, 3), np.uint8)] * 15
    assert cuts(black) == []
    assert cuts([*black, *shot(9, 15)]) == [15]
    assert cuts([*shot(9, 15), *black]) == [15]


def test_scenes_of_one_frame():
    frames = [*shot(10, 12), *shot(11, 1), *shot(12, 12)]
    assert cuts(frames, min_scene=1) == [12, 13]
    assert cuts(frames) == [12]


def test_shortest_scene():
    frames = [*shot(20, 10), *shot(21, 4), *shot(22, 10)]
    assert cuts(frames, min_scene=4) == [10, 14]
    assert cuts(frames, min_scene=5) == [10]
    assert cuts([*shot(20, 4), *shot(21, 10)], min_scene=5) == []
    with pytest.raises(ValueError, match="`min_scene` must be at least 1, got 0"):
        CutDetector(0)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 13])
def test_every_frame_is_answered_for(n):
    assert cuts(shot(1, n)) == []


def test_answers_come_in_time_and_memory_is_bounded():
    detector = CutDetector()
    endless = iter(shot(1, 12) * 40)
    answered = 0
    for taken, frame in enumerate(islice(endless, 300), start=1):
        answered += len(detector.push(frame))
        assert taken - answered <= detector.delay
        assert len(detector._frames) <= 20
