"""Bad input and bad output: one clear line, and nothing under the final name."""

import subprocess
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from vsr_plugin.errors import MediaError
from vsr_plugin.media import Encoding, open_sink, open_source


@pytest.fixture
def clip(media, tmp_path):
    (tmp_path / "in").mkdir()
    return media.make_clip(tmp_path / "in" / "clip.mp4")


@pytest.fixture
def out(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    return path


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("content", [b"", b"just some text\n" * 50, bytes(range(256)) * 20])
@pytest.mark.parametrize("name", ["a.mp4", "a.txt", "a.mkv"])
def test_not_a_video(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError) as error:
        open_source(tmp_path / name)
    assert name in one_line(error)


def test_audio_only(media, tmp_path):
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(MediaError, match=r"no video stream .only audio"):
        open_source(tmp_path / "a.mp4")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_cut_off_video_gives_what_decodes(media, tmp_path, suffix, capfd):
    pictures = list(np.random.default_rng(0).integers(0, 256, (20, 32, 48, 3), np.uint8))
    options = {"movflags": "faststart"} if suffix == ".mp4" else {}
    clip = media.make_clip(tmp_path / f"in{suffix}", n=20, pictures=pictures, container_options=options)
    data = clip.read_bytes()
    clip.write_bytes(data[: int(len(data) * 0.6)])
    source, sink = media.copy(clip, tmp_path / "out.mp4")
    assert 5 <= sink.num_written < 20
    assert len(media.probe(tmp_path / "out.mp4").pts) == sink.num_written
    if suffix == ".mp4":
        assert any(f"{sink.num_written} of 20 frames decode" in line for line in source.notes)
    assert capfd.readouterr().err == ""


def test_cut_off_before_the_first_frame(media, tmp_path):
    clip = media.make_clip(tmp_path / "in.mp4", container_options={"movflags": "faststart"})
    data = clip.read_bytes()
    clip.write_bytes(data[: data.index(b"mdat") + 8])
    with pytest.raises(MediaError, match="no frame of the video decodes"):
        open_source(clip)


def test_damaged_in_the_middle(media, tmp_path):
    pictures = list(np.random.default_rng(0).integers(0, 256, (20, 32, 48, 3), np.uint8))
    clip = media.make_clip(tmp_path / "in.mp4", n=20, pictures=pictures)
    data = bytearray(clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    clip.write_bytes(data)
    with open_source(clip) as source:
        delivered = list(source.frames())
    assert 5 <= len(delivered) <= 20
    assert any("damaged" in line for line in source.notes)
    assert all(b.pts > a.pts for a, b in pairwise(delivered))


def test_change_of_size(media, tmp_path):
    first = media.make_clip(tmp_path / "a.ts", n=4)
    times = [(90000 + 3600 * i, 3600) for i in range(4)]
    second = media.make_clip(tmp_path / "b.ts", size=(64, 64), unit=Fraction(1, 90000), times=times)
    (tmp_path / "c.ts").write_bytes(first.read_bytes() + second.read_bytes())
    with (
        open_source(tmp_path / "c.ts") as source,
        pytest.raises(MediaError, match=r"frame 4 is 64x64, the frames before are 48x32"),
    ):
        list(source.frames())


@pytest.mark.parametrize("name", ["film.mp4", "images"])
@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_interruption_leaves_nothing(clip, out, name, fault):
    def restore():
        with open_source(clip) as source, open_sink(out / name, source, scale=1) as sink:
            for frame in source.frames(0, 4):
                sink.write(frame)
                assert not (out / name).exists()
            raise fault

    with pytest.raises(fault):
        restore()
    assert names(out) == []


def test_interruption_keeps_the_old_file(clip, out):
    (out / "film.mp4").write_bytes(b"old")
    with (
        open_source(clip) as source,
        pytest.raises(KeyboardInterrupt),
        open_sink(out / "film.mp4", source, overwrite=True),
    ):
        raise KeyboardInterrupt
    assert (out / "film.mp4").read_bytes() == b"old"
    assert names(out) == ["film.mp4"]


@pytest.mark.parametrize("name", ["film.mp4", "images"])
def test_no_frames_is_an_error(clip, out, name):
    with (
        open_source(clip) as source,
        pytest.raises(MediaError, match="no frame was written"),
        open_sink(out / name, source),
    ):
        pass
    assert names(out) == []


def test_existing_video(media, clip, out):
    (out / "film.mp4").write_bytes(b"old")
    with open_source(clip) as source, pytest.raises(MediaError, match="exists already; pass --overwrite"):
        open_sink(out / "film.mp4", source)
    assert (out / "film.mp4").read_bytes() == b"old"
    media.copy(clip, out / "film.mp4", overwrite=True)
    assert len(media.probe(out / "film.mp4").pts) == 10
    assert names(out) == ["film.mp4"]


def test_existing_folder(media, clip, out):
    media.copy(clip, out, scale=1)
    assert len(names(out)) == 10
    (out / "mine.txt").write_text("mine")
    (out / "00000000.png").write_bytes(b"old")
    with open_source(clip) as source, pytest.raises(MediaError, match="not empty; pass --overwrite"):
        open_sink(out, source)
    _, sink = media.copy(clip, out, scale=1, overwrite=True)
    assert (out / "mine.txt").read_text() == "mine"
    assert (out / "00000000.png").read_bytes() != b"old"
    assert len(names(out)) == 11
    assert any("1 files that were there" in line for line in sink.notes)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere/film.mp4", r"nowhere does not exist; create"),
        ("nowhere/images", r"nowhere does not exist; create"),
        ("film.gif", r"cannot write \.gif files; name a video .*\.mp4"),
        ("film.png", r"cannot write \.png files"),
        ("file/film.mp4", r"is not a folder"),
        ("l" * 300 + ".mp4", r"cannot be written \(File name too long\); choose another name"),
    ],
)
def test_impossible_names(clip, out, name, message):
    (out / "file").write_text("")
    with open_source(clip) as source, pytest.raises(MediaError, match=message):
        open_sink(out / name, source)
    assert names(out) == ["file"]


def test_a_trailing_slash_makes_a_folder(clip, out):
    with open_source(clip) as source, open_sink(f"{out}/take.2/", source, scale=1) as sink:
        sink.write(next(source.frames()))
    assert names(out / "take.2") == ["00000000.png"]


def test_input_is_output(media, clip, tmp_path):
    before = clip.read_bytes()
    with open_source(clip) as source, pytest.raises(MediaError, match="is the input as well"):
        open_sink(clip.parent / ".." / "in" / "clip.mp4", source, overwrite=True)
    assert clip.read_bytes() == before
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "a.png")
    for path in (folder, folder / "a.png"):
        with open_source(path) as source, pytest.raises(MediaError, match="is the input as well"):
            open_sink(folder, source, overwrite=True)
    (tmp_path / "link.mp4").symlink_to(clip)
    with open_source(clip) as source, pytest.raises(MediaError, match=r"link\.mp4: is the input as well"):
        open_sink(tmp_path / "link.mp4", source, overwrite=True)


@pytest.mark.parametrize(
    ("name", "encoding", "message"),
    [
        ("a.mp4", Encoding(codec="nonsense"), "unknown codec 'nonsense'"),
        ("a.mp4", Encoding(codec="aac"), "is for audio"),
        ("a.webm", Encoding(), r"\.webm file cannot hold libx264"),
        ("a.mkv", Encoding(codec="ffv1", quality=3), "no quality setting"),
        ("a.mp4", Encoding(pix_fmt="rgb24"), "cannot encode 'rgb24'; choose one of yuv420p"),
        (
            "a.mp4",
            Encoding(preset="warp"),
            r"preset 'warp': libx264 has none of that name; choose ultrafast, .* or placebo",
        ),
        ("a.mp4", Encoding(codec="h264_nvenc", preset="placebo"), "preset 'placebo': h264_nvenc .* p6 or p7"),
        ("a.webm", Encoding(codec="libvpx-vp9", preset="slow"), "preset 'slow': libvpx-vp9 .* 0, 1, .* or 8"),
        ("a.mp4", Encoding(codec="libsvtav1", preset="14"), "preset '14': libsvtav1 .* or 13"),
        ("a.mkv", Encoding(codec="ffv1", preset="slow"), "preset 'slow': codec 'ffv1' has no presets; leave it out or"),
        ("a.avi", Encoding(codec="mpeg4", preset="slow"), "preset 'slow': codec 'mpeg4' has no presets; .*libx264"),
        ("a.mp4", Encoding(quality=-5), r"quality -5: libx264 takes 0 \(best\) to 51"),
        ("a.mp4", Encoding(quality=1000), r"quality 1000: libx264 takes 0 \(best\) to 51"),
        ("a.webm", Encoding(codec="libvpx-vp9", quality=64), "libvpx-vp9 takes 0 .* to 63"),
        ("a.mp4", Encoding(codec="mpeg4", quality=0), "mpeg4 takes 1 .* to 31"),
    ],
)
def test_impossible_encodings_fail_at_opening(clip, out, name, encoding, message):
    with open_source(clip) as source, pytest.raises(MediaError, match=message) as error:
        open_sink(out / name, source, encoding=encoding)
    one_line(error)
    assert names(out) == []


@pytest.mark.parametrize(
    ("codec", "quality", "preset"),
    [
        ("libx264", 0, "ultrafast"),
        ("libx264", 51, "ultrafast"),
        ("libx265", 51, "ultrafast"),
        ("libvpx-vp9", 63, "8"),
        ("libsvtav1", 63, "13"),
        ("mpeg4", 31, None),
        ("mjpeg", 1, None),
    ],
)
def test_the_ends_of_the_range_of_quality(media, clip, out, codec, quality, preset):
    # At four times the size: of 48x32 x265 overwrites its heap now and then.
    media.copy(clip, out / "a.mkv", encoding=Encoding(codec=codec, quality=quality, preset=preset))
    assert len(media.probe(out / "a.mkv").pts) == 10


@pytest.mark.parametrize(
    ("codec", "fast", "slow"),
    [
        ("libx264", "ultrafast", "slow"),
        ("libx265", "ultrafast", "slow"),
        ("libvpx-vp9", "8", "0"),
        ("libsvtav1", "13", "6"),
    ],
)
def test_presets_reach_the_encoder(media, clip, out, codec, fast, slow):
    for preset in (fast, slow):
        media.copy(clip, out / f"{preset}.mkv", encoding=Encoding(codec=codec, preset=preset))
    assert (out / f"{slow}.mkv").stat().st_size != (out / f"{fast}.mkv").stat().st_size


@pytest.mark.parametrize("rate", [0, -3, Fraction(1, 1001), 10**12, float("nan")])
def test_impossible_frame_rates(rate):
    with pytest.raises(MediaError, match=f"frame rate {rate}: .* such as 25 or 30000/1001"):
        Encoding(frame_rate=rate)


def test_wrong_shape_is_a_programming_mistake(clip, out):
    with open_source(clip) as source, pytest.raises(ValueError, match="must have shape"):  # noqa: SIM117
        with open_sink(out / "a.mp4", source, scale=4) as sink:
            sink.write(next(source.frames()))
    assert names(out) == []


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        pytest.skip("no mount command here")
    if done.returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def write_noise(clip, target):
    """Write more than 64 KiB of pictures that do not compress."""
    rng = np.random.default_rng(0)
    with (
        open_source(clip) as source,
        open_sink(target, source, encoding=Encoding(quality=1)) as sink,
    ):
        for frame in source.frames():
            sink.write(replace(frame, rgb=rng.integers(0, 256, (128, 192, 3), np.uint8)))


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "images"])
def test_full_disk_leaves_nothing(clip, small_disk, name):
    with pytest.raises(MediaError, match=r"No space left on device.*nothing is left there") as error:
        write_noise(clip, small_disk / name)
    assert name in one_line(error)
    assert names(small_disk) == []


def test_file_size_limit_leaves_nothing(clip, out):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32768, hard))
    try:
        with pytest.raises(MediaError, match="writing failed"):
            write_noise(clip, out / "film.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(out) == []


@pytest.mark.parametrize(
    "name", ["it's 100%d #1 \N{FIRE}.mp4", "-dash.mp4", "a:b?c.mp4", "new\nline.mp4", " spaces .mp4", "\udce9.mp4"]
)
def test_names_of_any_kind(media, tmp_path, name):
    try:
        clip = media.make_clip(tmp_path / "plain.mp4", n=3).rename(tmp_path / name)
    except (OSError, UnicodeError):
        pytest.skip("no such name on this disk")
    media.copy(clip, tmp_path / f"out {name}", scale=1)
    with open_source(tmp_path / f"out {name}") as source:
        assert len(list(source.frames())) == 3
    # What is said of it is one line that can be printed.
    for fault in (lambda: open_source(tmp_path / f"gone {name}"), lambda: open_sink(clip, open_source(clip))):
        with pytest.raises(MediaError) as error:
            fault()
        assert one_line(error).isprintable()


def test_sound_that_the_file_does_not_announce(media, tmp_path):
    """PyAV knows the streams that FFmpeg finds at the beginning, and no FLV says which ones follow."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (150, 64, 64, 3), np.uint8)
    path = media.make_clip(tmp_path / "late.flv", n=150, size=(64, 64), pictures=pictures)
    sound = bytes([0x3E]) + bytes(1000)  # 16-bit mono at 44.1 kHz
    header = bytes([8]) + len(sound).to_bytes(3, "big") + (5990).to_bytes(3, "big") + bytes(4)
    whole = path.read_bytes()
    path.write_bytes(whole + header + sound + (len(header) + len(sound)).to_bytes(4, "big"))
    source = open_source(path)
    assert source.audio_indices == ()  # else it is found at the beginning, and this tests nothing
    assert len(list(source.frames())) == 150
