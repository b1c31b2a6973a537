"""Every kind of clip: which frames, in which order, which pixels, and what is said of bad ones."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from clip_folders import make_frames, write_images, write_packed, write_video

from vsr_plugin.data.clips import ImageClip, PackedClip, VideoClip, Window
from vsr_plugin.errors import DataError


@pytest.fixture
def frames():
    return make_frames(h=12, w=20)


@pytest.fixture(params=["images", "packed", "video"])
def clip(request, tmp_path, frames, media):
    if request.param == "images":
        return ImageClip("a/b", write_images(tmp_path / "b", frames))
    if request.param == "packed":
        return PackedClip("a/b", write_packed(tmp_path / "b.npy", frames))
    return VideoClip("a/b", write_video(tmp_path / "b.mkv", frames, media))


def test_every_kind_reads_the_same_pixels(clip, frames):
    assert (clip.name, clip.num_frames, clip.height, clip.width) == ("a/b", 5, 12, 20)
    read = clip.read(range(5))
    assert read.dtype == np.uint8
    assert np.array_equal(read, frames)
    read[:] = 0  # the caller's own
    assert np.array_equal(clip.read([4, 1, 1], Window(3, 5, 8, 6)), frames[[4, 1, 1], 3:11, 5:11])
    assert clip.read([]).shape == (0, 12, 20, 3)
    assert clip.frame_name(2) == "00000002"


def test_clips_travel_to_other_processes_and_threads(clip, frames):
    clip = pickle.loads(pickle.dumps(clip))
    with ThreadPoolExecutor(4) as pool:
        for i, read in enumerate(pool.map(lambda i: clip.read([i % 5])[0], range(20))):
            assert np.array_equal(read, frames[i % 5])


def test_places_outside_are_refused(clip):
    with pytest.raises(IndexError, match="clip a/b has frames 0 to 4, got 5"):
        clip.read([5])
    for window in (Window(5, 0, 8, 8), Window(0, -1, 8, 8), Window(0, 0, 0, 8)):
        with pytest.raises(ValueError, match="not inside the 20x12 frames of clip a/b"):
            clip.read([0], window)


def test_windows_scale():
    assert Window(1, 2, 3, 4).scaled(4) == Window(4, 8, 12, 16)


@pytest.mark.parametrize(
    "names",
    [
        ["f9.png", "f10.png", "f11.png", "f12.png", "f13.png"],
        ["00000098x4.png", "00000099x4.png", "00000100x4.png", "00000101x4.png", "00000102x4.png"],
        ["im1.png", "im2.png", "im3.PNG", "im4.png", "im5.png"],
        ["0000.png", "0010.png", "0020.png", "0030.png", "0040.png"],
        ["at 0.png", "at 33.png", "at 67.png", "at 100.png", "at 133.png"],
        ["intro.png", "middle 2.png", "middle 7.png", "outro.png", "plot.png"],
    ],
)
def test_images_come_in_natural_order_from_any_first_number(tmp_path, frames, names):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "notes.txt").write_text("not a frame")
    (tmp_path / "c" / ".f8.png").write_text("hidden")
    clip = ImageClip("c", write_images(tmp_path / "c", frames, names))
    assert clip.files == names
    assert np.array_equal(clip.read(range(5)), frames)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["00000003.png", "00000004.png", "00000006.png"], "frame 00000005 is missing between 00000004.png and"),
        (["im1.png", "im2.png", "im7.png"], "4 frames from 3 on are missing between im2.png and im7.png"),
        (["0.png", "10.png", "30.png"], "frame 20 is missing"),
        (["1.png", "2.png", "02.png"], "02.png and 2.png are the same frame"),
        (["1.png", "1.jpg"], "1.jpg and 1.png are the same frame"),
    ],
)
def test_a_number_left_out_or_given_twice_is_named(tmp_path, frames, names, message):
    write_images(tmp_path / "c", frames[: len(names)], names)
    with pytest.raises(DataError, match=f"clip walk/c .*: {message}"):
        ImageClip("walk/c", tmp_path / "c").num_frames  # noqa: B018


def test_images_become_8_bit_rgb(tmp_path, frames):
    folder = tmp_path / "c"
    folder.mkdir()
    rgb = frames[0]
    cv2.imwrite(str(folder / "0.png"), rgb[..., 0])
    cv2.imwrite(str(folder / "1.png"), np.dstack([rgb[..., ::-1], rgb[..., 1]]))
    cv2.imwrite(str(folder / "2.png"), rgb[..., ::-1].astype(np.uint16) * 257)
    read = ImageClip("c", folder).read(range(3))
    assert np.array_equal(read[0], np.repeat(rgb[..., :1], 3, 2))
    assert np.array_equal(read[1], rgb)
    assert np.array_equal(read[2], rgb)


def test_a_frame_of_another_size_is_named(tmp_path, frames):
    folder = write_images(tmp_path / "c", frames)
    write_images(folder, frames[:1, :8], ["00000003.png"])
    clip = ImageClip("c", folder)
    assert clip.read([0, 1]).shape == (2, 12, 20, 3)
    with pytest.raises(DataError, match=r"clip c, frame 00000003 .*: is 20x8, but the first frame is 20x12"):
        clip.read([2, 3])


@pytest.mark.parametrize("damage", [b"", b"no picture"])
def test_a_damaged_image_is_named(tmp_path, frames, damage):
    folder = write_images(tmp_path / "c", frames)
    (folder / "00000002.png").write_bytes(damage)
    with pytest.raises(DataError, match=r"clip c, frame 00000002 .*: 00000002.png does not decode"):
        ImageClip("c", folder).read([1, 2])
    (folder / "00000000.png").write_bytes(damage)
    with pytest.raises(DataError, match="clip c, frame 00000000"):
        ImageClip("c", folder).height  # noqa: B018


def test_a_folder_without_images_is_named(tmp_path):
    with pytest.raises(DataError, match=r"clip c .*: the folder holds no images"):
        ImageClip("c", tmp_path).num_frames  # noqa: B018


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (np.zeros((2, 4, 4), np.uint8), r"holds uint8 \(2, 4, 4\)"),
        (np.zeros((2, 4, 4, 3), np.float32), "holds float32"),
        (np.asfortranarray(np.zeros((2, 4, 4, 3), np.uint8)), "in C order"),
    ],
)
def test_other_arrays_are_no_packed_clips(tmp_path, array, what):
    np.save(tmp_path / "c.npy", array)
    with pytest.raises(DataError, match=f"clip c .*{what}"):
        PackedClip("c", tmp_path / "c.npy").height  # noqa: B018


def test_a_packed_clip_cut_off_is_named(tmp_path, frames):
    np.save(tmp_path / "c.npy", frames)
    data = (tmp_path / "c.npy").read_bytes()
    (tmp_path / "c.npy").write_bytes(data[:-1])
    with pytest.raises(DataError, match=r"clip c .*cannot be read as a packed clip"):
        PackedClip("c", tmp_path / "c.npy").read([0])


def test_a_video_cut_off_is_named(tmp_path, frames, media):
    clip = VideoClip("c", write_video(tmp_path / "c.mkv", frames, media))
    assert clip.num_frames == 5
    data = clip.path.read_bytes()
    clip.path.write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(DataError, match=r"clip c, frame 0000000\d .*does not decode, the video is damaged"):
        clip.read(range(5))
    (tmp_path / "d.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"clip d: .*d\.mp4: not a video"):
        VideoClip("d", tmp_path / "d.mp4").height  # noqa: B018
