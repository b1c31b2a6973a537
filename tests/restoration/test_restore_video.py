"""Jobs from Python: strategies, stops at any point, and what is left behind by them."""

import errno
import json
import os
import signal
import threading
import time
from contextlib import suppress

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from vsr_plugin.errors import MediaError, VSRError, hint_of
from vsr_plugin.evaluation import frame_quality
from vsr_plugin.inference.planning import MemoryModel
from vsr_plugin.media import Encoding, Frame, open_source
from vsr_plugin.media.video_reader import VideoSource
from vsr_plugin.media.video_segments import VideoSegments
from vsr_plugin.models import BasicVSRNet, IconVSRNet
from vsr_plugin.ops.windows import cut_windows, fade_frames
from vsr_plugin.restoration import RestoreOptions, restore_video
from vsr_plugin.restoration.executors import ThisProcess
from vsr_plugin.restoration.job import JobFolder
from vsr_plugin.restoration.pipeline import Prefetcher


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return BasicVSRNet(mid_channels=4, num_blocks=1, spynet_width=4).eval()


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors are not worth a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def nothing_is_left_open():
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    yield
    # An interruption does not wait for the thread that reads, which ends by itself with its frame.
    end = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) <= files


@pytest.fixture
def clip(media, tmp_path):
    pictures = []
    for seed, length in enumerate((15, 85)):
        blocks = np.random.default_rng(seed).integers(0, 256, (4, 24, 3), np.uint8)
        wide = cv2.resize(blocks, (24 + length, 16), interpolation=cv2.INTER_CUBIC)
        pictures += [np.ascontiguousarray(wide[:, i : i + 24]) for i in range(length)]
    return media.make_clip(tmp_path / "in.mp4", n=100, size=(16, 24), pictures=pictures, audio="aac")


class StopError(Exception):
    pass


def stop_after(count: float):
    """A progress callback that raises when so many frames are done."""
    done = 0

    def progress(step):
        nonlocal done
        done += step
        if done >= count:
            raise StopError

    return progress


STRATEGIES = [
    dict(),
    dict(strategy="whole"),
    dict(strategy="exact"),
    dict(strategy="window", window=12, overlap=5),
    dict(scene_cuts="off"),
    dict(strategy="window", window=12, overlap=5, scale=1.5),
    dict(strategy="exact", height=22),
    dict(ensemble=2),
]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_stopped_and_resumed(net, clip, tmp_path, strategy):
    done = []
    result = restore_video(clip, tmp_path / "whole.mp4", net, RestoreOptions(**strategy), progress=done.append)
    assert result.num_frames == 100
    assert sum(done) == 100
    options = RestoreOptions(**strategy, resume=True)
    for count in (30, 50):
        with pytest.raises(StopError) as stop:
            restore_video(clip, tmp_path / "stopped.mp4", net, options, progress=stop_after(count))
        assert not (tmp_path / "stopped.mp4").exists()
        assert (tmp_path / ".stopped.mp4.job").exists() == ("--resume" in hint_of(stop.value))
    done.clear()
    restore_video(clip, tmp_path / "stopped.mp4", net, options, progress=done.append)
    assert sum(done) == 100
    assert (tmp_path / "stopped.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"in.mp4", "whole.mp4", "stopped.mp4"}


def test_the_newest_frame_of_a_job_can_be_seen(net, clip, tmp_path):
    restore_video(clip, tmp_path / "whole.mp4", net)
    with pytest.raises(StopError):
        restore_video(clip, tmp_path / "out.mp4", net, progress=stop_after(40))
    job = JobFolder(tmp_path / "out.mp4")
    *_, last = job.records()
    with open_source(tmp_path / "whole.mp4") as source, Image.open(job.newest) as picture:
        seen = np.asarray(picture, np.float32)
        distances = [np.abs(seen - frame.rgb).mean() for frame in source.frames()]
    assert np.argmin(distances) == last.segment.first + last.segment.frames - 1


@pytest.mark.parametrize("strategy", [dict(strategy="exact"), dict(strategy="window", window=8, overlap=4)], ids=str)
def test_iconvsr_stopped_resumed_and_shared(media, tmp_path, strategy):
    torch.manual_seed(0)
    iconvsr = IconVSRNet(mid_channels=8, num_blocks=1, spynet_width=4).eval()
    rng = np.random.default_rng(0)
    wide = cv2.resize(rng.integers(0, 256, (4, 24, 3), np.uint8), (64, 16), interpolation=cv2.INTER_CUBIC)
    pictures = [np.ascontiguousarray(wide[:, i : i + 24]) for i in range(20)]
    clip = media.make_clip(tmp_path / "in.mp4", n=20, size=(16, 24), pictures=pictures)
    restore_video(clip, tmp_path / "whole.mp4", iconvsr, RestoreOptions(**strategy))
    options = RestoreOptions(**strategy, resume=True)
    with pytest.raises(StopError):
        restore_video(clip, tmp_path / "out.mp4", iconvsr, options, progress=stop_after(12))
    with suppress(MediaError):  # of what the other worker has to do
        restore_video(clip, tmp_path / "out.mp4", iconvsr, options, executor=Half(1))
    restore_video(clip, tmp_path / "out.mp4", iconvsr, options)
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


class Half(ThisProcess):
    """Restores every second shot."""

    def __init__(self, rest: int) -> None:
        self._rest = rest

    def run(self, work, shots, stop, **callbacks) -> None:
        super().run(work, (shot for shot in shots if shot.number % 2 == self._rest), stop, **callbacks)


@pytest.mark.parametrize("scale", [None, 2, 4.5])
def test_the_order_of_windows_does_not_matter(net, clip, tmp_path, scale):
    options = RestoreOptions(strategy="window", window=12, overlap=5, scale=scale)
    restore_video(clip, tmp_path / "one.mp4", net, options)
    with pytest.raises(MediaError, match="frame 0 is missing"):
        restore_video(clip, tmp_path / "two.mp4", net, options, executor=Half(1))
    options = RestoreOptions(strategy="window", window=12, overlap=5, scale=scale, resume=True)
    restore_video(clip, tmp_path / "two.mp4", net, options, executor=Half(0))
    assert (tmp_path / "two.mp4").read_bytes() == (tmp_path / "one.mp4").read_bytes()


def restored_windows(net, lqs, window, overlap):
    """What :func:`restore_video` should give, by the network alone."""
    fade = fade_frames(window, overlap)
    outputs, before = [], []
    for part in cut_windows(lqs, window, overlap):
        lrs = torch.from_numpy(np.stack(part.frames)).permute(0, 3, 1, 2)[None] / 255
        with torch.no_grad():
            hrs = net(lrs)[0].clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255
        kept = list(hrs[part.keep.start : part.keep.stop])
        for i in range(len(part.lead)):
            weight = (i + 0.5) / (2 * fade)
            kept[i] = (1 - weight) * before[i] + weight * kept[i]
        before = hrs[part.tail.start : part.tail.stop]
        outputs += kept
    return outputs


def test_windows_and_the_frames_around_their_joints(net, tmp_path):
    rng = np.random.default_rng(0)
    wide = cv2.resize(rng.integers(0, 256, (4, 24, 3), np.uint8), (64, 16), interpolation=cv2.INTER_CUBIC)
    lqs = [np.ascontiguousarray(wide[:, i : i + 24]) for i in range(40)]
    for name, frames, scale in (("in", lqs, 1), ("gt", lqs, 4)):
        (tmp_path / name).mkdir()
        for i, frame in enumerate(frames):
            large = frame.repeat(scale, 0).repeat(scale, 1)
            cv2.imwrite(str(tmp_path / name / f"{i:03d}.png"), np.ascontiguousarray(large[..., ::-1]))
    options = RestoreOptions(strategy="window", window=12, overlap=5, gt=tmp_path / "gt")
    result = restore_video(tmp_path / "in", tmp_path / "out", net, options)
    expected = restored_windows(net, lqs, 12, 5)
    assert len(expected) == result.num_frames == 40
    written = [cv2.imread(str(path))[..., ::-1] for path in sorted((tmp_path / "out").glob("*.png"))]
    for i, (hr, want) in enumerate(zip(written, expected, strict=True)):
        assert np.abs(hr - want).max() <= 0.52, i
    # Frames around joints are written last, and compared with their own ground truth all the same.
    assert [row["frame"] for row in result.quality.rows] == list(range(40))
    for i, row in enumerate(result.quality.rows):
        gt = lqs[i].repeat(4, 0).repeat(4, 1)
        assert row["psnr"] == pytest.approx(frame_quality(written[i], gt)[0], abs=1e-6)


def test_lost_contributions_are_made_again(net, clip, tmp_path):
    windows = dict(strategy="window", window=12, overlap=5)
    restore_video(clip, tmp_path / "whole.mp4", net, RestoreOptions(**windows))
    with pytest.raises(MediaError, match=r"frame \d+ is missing among the finished ones; .* start afresh"):
        restore_video(clip, tmp_path / "out.mp4", net, RestoreOptions(**windows), executor=Half(0))
    contributions = list((tmp_path / ".out.mp4.job" / "joints").iterdir())
    assert contributions
    for path in contributions:
        path.unlink()
    done = []
    options = RestoreOptions(**windows, resume=True)
    restore_video(clip, tmp_path / "out.mp4", net, options, progress=done.append)
    assert sum(done) == 100
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


@pytest.fixture
def entries(monkeypatch):
    """The numbers of the frames at which a video is entered from now on; 0 for its beginning."""
    found, frames = [], VideoSource.frames

    def watch(self, start=0, num_frames=None, entry=None):
        found.append(0 if entry is None else entry.number)
        return frames(self, start, num_frames, entry)

    monkeypatch.setattr(VideoSource, "frames", watch)
    return found


@pytest.mark.parametrize("trusted", [True, False])
def test_a_resumed_job_enters_the_video_at_what_is_left(net, media, tmp_path, entries, trusted):
    pictures = [np.full((16, 24, 3), 25 * (i // 10) + i % 10, np.uint8) for i in range(40)]
    clip = media.make_clip(tmp_path / "in.mp4", n=40, pictures=pictures, options=dict(g="10", sc_threshold="0"))
    windows = dict(strategy="window", window=10, overlap=4, scene_cuts="off", clean="off")
    restore_video(clip, tmp_path / "whole.mp4", net, RestoreOptions(**windows))
    assert entries == [0, 0]  # the scan, and one pass for all windows
    with pytest.raises(StopError):
        restore_video(clip, tmp_path / "out.mp4", net, RestoreOptions(**windows), progress=stop_after(36))
    listed = tmp_path / ".out.mp4.job" / "shots.json"
    if not trusted:  # as if a decoder gave other pixels where it is entered in the middle
        shots = json.loads(listed.read_text())
        for shot in shots["shots"]:
            shot["check"] += 1
        listed.write_text(json.dumps(shots))
    entries.clear()
    restore_video(clip, tmp_path / "out.mp4", net, RestoreOptions(**windows, resume=True))
    assert entries[0] >= 10
    assert entries[1:] == ([] if trusted else [0])
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_an_error_before_any_work_leaves_nothing(net, clip, tmp_path):
    (tmp_path / "old.mp4").write_bytes(b"old")
    before = set(tmp_path.iterdir())
    with pytest.raises(MediaError, match="exists already") as error:
        restore_video(clip, tmp_path / "old.mp4", net)
    assert hint_of(error.value) == ""
    with pytest.raises(MediaError, match="none is left at start 500"):
        restore_video(clip, tmp_path / "new.mp4", net, RestoreOptions(start=500))
    with pytest.raises(StopError):
        restore_video(clip, tmp_path / "new.mp4", net, progress=stop_after(1))
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(memory_budget="1M"), "memory budget of 1 MiB is too small for frames of 24x16; give at least"),
        (dict(strategy="window", memory_budget="1M"), "memory budget of 1 MiB is too small"),
        (dict(tile=5), "tile 5 is smaller than the overlap that it needs; use"),
        (dict(strategy="fast"), "strategy 'fast' does not exist; choose one of"),
        (dict(precision="int8"), "precision 'int8' does not exist; choose"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_known_before_a_frame_is_read(net, clip, tmp_path, monkeypatch, options, message):
    def read(*_):
        raise AssertionError("a frame was read")

    before = set(tmp_path.iterdir())
    monkeypatch.setattr("vsr_plugin.media.video_reader.VideoSource.frames", read)
    with pytest.raises(VSRError, match=message):
        restore_video(clip, tmp_path / "out.mp4", net, RestoreOptions(**options))
    assert set(tmp_path.iterdir()) == before


@pytest.fixture
def interruptible():
    """Shells start what runs in the background with SIGINT ignored, and Python then raises no KeyboardInterrupt."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interruption_does_not_wait_for_a_long_scene_to_be_read(net, clip, tmp_path, monkeypatch, interruptible):
    read, waits = [], threading.Event()
    received = Prefetcher._received

    def waited_for(prefetcher):
        waits.set()
        yield from received(prefetcher)

    def long(*_):
        interrupted = False
        for i in range(3000):
            read.append(i)
            if not interrupted and waits.is_set():
                interrupted = True
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            time.sleep(0.01)
            yield Frame(np.zeros((16, 24, 3), np.uint8))

    monkeypatch.setattr(Prefetcher, "_received", waited_for)
    monkeypatch.setattr("vsr_plugin.media.video_reader.VideoSource.frames", long)
    with pytest.raises(KeyboardInterrupt):
        restore_video(clip, tmp_path / "out.mp4", net, RestoreOptions(scene_cuts="off"))
    assert len(read) < 3000


@pytest.mark.parametrize("options", [dict(window=0), dict(overlap=-1)])
def test_windows_that_cannot_be(options):
    with pytest.raises(ValueError, match="`window` must be at least 1 and `overlap` at least 0"):
        RestoreOptions(strategy="window", **options)


@pytest.mark.parametrize("options", [dict(window=5), dict(overlap=5, strategy="exact")], ids=str)
def test_windows_are_not_asked_for_in_vain(options):
    with pytest.raises(VSRError, match="it is for --strategy window, which it does not choose by itself"):
        RestoreOptions(**options)


@pytest.mark.parametrize("strategy", [dict(scene_cuts="off"), dict(strategy="window", window=40, overlap=5)], ids=str)
def test_a_resumed_job_takes_another_budget(net, clip, tmp_path, strategy):
    strategy = dict(**strategy, encoding=Encoding("ffv1"), clean="off")
    restore_video(clip, tmp_path / "whole.mkv", net, RestoreOptions(**strategy))
    options = RestoreOptions(**strategy, resume=True)
    with pytest.raises(StopError):
        restore_video(clip, tmp_path / "out.mkv", net, options, progress=stop_after(60))
    with pytest.raises(VSRError, match="memory budget of 1 MiB is too small"):
        restore_video(clip, tmp_path / "out.mkv", net, RestoreOptions(**strategy, resume=True, memory_budget="1M"))
    assert JobFolder(tmp_path / "out.mkv").resources["budget"] > 2**20  # one that is refused is not kept
    model = MemoryModel(net, 16, 24)
    tight = RestoreOptions(**strategy, resume=True, memory_budget=model.working(None) + 6 * model.per_frame)
    notes = []
    result = restore_video(clip, tmp_path / "out.mkv", net, tight, on_note=notes.append)
    assert any("exact, 6 frames at a time" in note or "in windows" in note for note in notes)
    assert set(notes) <= set(result.notes)
    for ours, expected in zip(video_frames(tmp_path / "out.mkv"), video_frames(tmp_path / "whole.mkv"), strict=True):
        assert np.abs(ours.astype(int) - expected).max() <= 1


def video_frames(path):
    with open_source(path) as source:
        return [frame.rgb for frame in source.frames()]


def test_a_disk_that_fails_is_one_line(net, clip, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = set(tmp_path.iterdir())
    monkeypatch.setattr("vsr_plugin.restoration.job.JobFolder.keep_resources", full)
    with pytest.raises(MediaError, match=r"\.out\.mp4\.job: unfinished work cannot be kept there \(No space left"):
        restore_video(clip, tmp_path / "out.mp4", net)
    assert set(tmp_path.iterdir()) == before


def test_a_result_mark_that_a_disk_has_lost(net, clip, tmp_path, monkeypatch):
    (tmp_path / "out.mp4").write_bytes(b"old")
    options = RestoreOptions(num_frames=5, overwrite=True, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(VideoSegments, "finish", lambda self, segments: stop_after(0)(1))
        with pytest.raises(StopError):
            restore_video(clip, tmp_path / "out.mp4", net, options)
    (tmp_path / ".out.mp4.job" / "joined.json").write_text("")
    assert restore_video(clip, tmp_path / "out.mp4", net, options).num_frames == 5
    assert len(video_frames(tmp_path / "out.mp4")) == 5


def test_an_existing_folder_keeps_its_files_and_holds_the_job(net, clip, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    options = RestoreOptions(num_frames=40, overwrite=True, resume=True)
    with pytest.raises(StopError):
        restore_video(clip, out, net, options, progress=stop_after(30))
    assert {path.name for path in out.iterdir()} == {"mine.txt", ".out.job"}
    result = restore_video(clip, out, net, options)
    assert "1 files that were there before are left as they were" in " ".join(result.notes)
    assert len(list(out.iterdir())) == 41


def test_unknown_scene_cuts(net, clip, tmp_path):
    with pytest.raises(ValueError, match="must be 'auto', 'on' or 'off', got 'maybe'"):
        restore_video(clip, tmp_path / "out.mp4", net, RestoreOptions(scene_cuts="maybe"))


@pytest.mark.parametrize("name", ["c.xyz", "c", "c.jpg", "out.mp4"])
def test_a_comparison_is_a_png(name):
    with pytest.raises(MediaError, match=rf"{name}: pictures are PNG files; choose a name that ends so"):
        RestoreOptions(comparison=name)


def test_one_image_becomes_one_image(net, tmp_path):
    cv2.imwrite(str(tmp_path / "one.png"), np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8))
    restore_video(tmp_path / "one.png", tmp_path / "folder", net)
    result = restore_video(tmp_path / "one.png", tmp_path / "single.png", net)
    assert result.num_frames == 1
    assert (tmp_path / "single.png").read_bytes() == (tmp_path / "folder" / "one.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "one.png", "single.png"]
    with pytest.raises(MediaError, match=r"single\.png: exists already; pass --overwrite"):
        restore_video(tmp_path / "one.png", tmp_path / "single.png", net)
    restore_video(tmp_path / "one.png", tmp_path / "single.png", net, RestoreOptions(overwrite=True, scale=2))
    assert cv2.imread(str(tmp_path / "single.png")).shape == (32, 48, 3)
    with pytest.raises(MediaError, match=r"cannot write \.png files; .* one image may become one \.png"):
        restore_video(tmp_path / "folder", tmp_path / "other.png", net)


@pytest.fixture
def originals(media, tmp_path):
    """A clip, folders of frames and of ground truth, and one image, by name; none may change."""
    clip = media.make_clip(tmp_path / "in.mp4", n=2, size=(16, 24))
    media.make_clip(tmp_path / "gt.mkv", n=2, size=(64, 96))
    for folder, size in (("frames", (16, 24)), ("out/gt", (64, 96))):
        (tmp_path / folder).mkdir(parents=True)
        for i in range(2):
            cv2.imwrite(str(tmp_path / folder / f"{i}.png"), np.zeros((*size, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "one.png"), np.zeros((16, 24, 3), np.uint8))
    (tmp_path / "linked.png").symlink_to(tmp_path / "frames" / "1.png")
    return clip.parent


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (dict(input="one.png", output="new", comparison="one.png"), "one.png: is the input as well"),
        (dict(input="frames", output="new", comparison="frames/0.png"), "frames/0.png: is the input as well"),
        (dict(input="frames", output="new", comparison="linked.png"), "linked.png: is the input as well"),
        (dict(input="in.mp4", output="new.png/", comparison="new.png"), "new.png: is the output as well"),
        (dict(input="in.mp4", output="new", comparison="out/gt/1.png", gt="out/gt"), "1.png: is the ground truth as"),
        (dict(input="in.mp4", output="gt.mkv", gt="gt.mkv"), "gt.mkv: is the ground truth as well"),
        (dict(input="in.mp4", output="out/gt", gt="out/gt"), "out/gt: is the ground truth as well"),
        (
            dict(input="in.mp4", output="out", gt="out/gt"),
            "out: holds the ground truth, .*out/gt; choose another output",
        ),
    ],
    ids=str,
)
def test_results_do_not_replace_what_is_read(net, originals, paths, message):
    def contents():
        return {path: path.read_bytes() for path in originals.rglob("*") if path.is_file()}

    before = contents()
    where = {name: f"{originals}/{path}" for name, path in paths.items()}
    source, output = where.pop("input"), where.pop("output")
    with pytest.raises(MediaError, match=message):
        restore_video(source, output, net, RestoreOptions(overwrite=True, **where))
    assert contents() == before


def test_a_figure_file_does_not_replace_what_is_read(net, originals):
    # FFmpeg goes by what is inside.
    (originals / "in.mp4").rename(originals / "new_quality.csv")
    options = RestoreOptions(gt=originals / "gt.mkv", overwrite=True)
    with pytest.raises(MediaError, match=r"new_quality\.csv: is the input as well"):
        restore_video(originals / "new_quality.csv", originals / "new.mp4", net, options)


def test_results_beside_what_is_read(net, originals):
    options = RestoreOptions(gt=originals / "out" / "gt", comparison=originals / "seen.png", overwrite=True)
    for _ in range(2):
        restore_video(originals / "frames", originals / "out.mkv", net, options)
    assert {"seen.png", "out.mkv", "out_quality.csv"} < {path.name for path in originals.iterdir()}
