"""tools/onnx_restore.py restores clips without PyTorch as restore_frames does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vsr_plugin.errors import VSRError
from vsr_plugin.inference import restore_frames
from vsr_plugin.media import open_source
from vsr_plugin.restoration.options import RestoreOptions
from vsr_plugin.restoration.restore import restore_video

TOOL = Path(__file__).parents[2] / "tools" / "onnx_restore.py"


#: For what does not depend on the network.
one_network = pytest.mark.parametrize("small", ["basicvsr"], indirect=True)


def pictures(t: int, h: int, w: int) -> list[np.ndarray]:
    from vsr_plugin.export.exporter import moving_pattern

    frames = (moving_pattern(t, h, w)[0] * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return list(frames.numpy())


def assert_within_rounding(found: list[np.ndarray], net: nn.Module, frames: list[np.ndarray]) -> None:
    expected = list(restore_frames(net, frames))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        difference = np.abs(a.astype(int) - b)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3


def test_16_bits_stay_16_bits(small, exported, load_model) -> None:
    frames = [frame.astype(np.uint16) * 257 - 1000 * (frame > 9).astype(np.uint16) for frame in pictures(3, 8, 12)]
    expected = list(restore_frames(small[0], frames))
    for form in ("whole", "steps"):
        found = list(load_model(exported[form], 1).restore(frames))
        assert found[0].dtype == np.uint16
        assert max(np.abs(a.astype(int) - b).max() for a, b in zip(found, expected, strict=True)) <= 2


@pytest.mark.parametrize(("t", "h", "w"), [(1, 18, 23), (5, 3, 30), (15, 13, 9)])
@pytest.mark.parametrize("form", ["whole", "steps"])
def test_frames_equal_those_of_restore_frames(form, t, h, w, small, exported, load_model) -> None:
    frames = pictures(t, h, w)
    model = load_model(exported[form], 1)
    assert_within_rounding(list(model.restore(frames)), small[0], frames)


@one_network
@pytest.mark.parametrize("form", ["whole", "steps"])
def test_windows_are_those_of_restore_frames(form, small, exported, load_model) -> None:
    frames = pictures(23, 12, 16)
    expected = list(restore_frames(small[0], frames, window=8, overlap=4))
    done = []
    found = list(load_model(exported[form], 1).restore(frames, window=8, overlap=4, progress=done.append))
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(found, expected, strict=True)) <= 1
    assert sum(done) == pytest.approx(23)


@one_network
def test_frames_of_several_depths(small, exported, load_model) -> None:
    frames = pictures(4, 8, 12)
    mixed = [frame if i % 2 else frame.astype(np.uint16) * 257 for i, frame in enumerate(frames)]
    model = load_model(exported["steps"], 1)
    for a, b, of in zip(model.restore(mixed), model.restore(frames), mixed, strict=True):
        assert a.dtype == of.dtype
        assert np.abs(a / np.iinfo(a.dtype).max - b / 255).max() < 1 / 255


@one_network
def test_models_that_an_earlier_export_left_are_not_taken(small, exported, load_model, tmp_path: Path) -> None:
    folder = shutil.copytree(exported["steps"], tmp_path / "steps")
    shutil.copy(folder / "reconstruct.onnx", folder / "clean.onnx")
    frames = pictures(3, 8, 12)
    assert_within_rounding(list(load_model(folder).restore(frames)), small[0], frames)


def test_numbers_that_are_not_finite_are_an_error(exported, load_model, monkeypatch) -> None:
    model = load_model(exported["steps"], 1)
    monkeypatch.setattr(type(model), "_sequence", lambda *_: (hr for hr in np.full((2, 3, 32, 32), np.nan)))
    with pytest.raises(VSRError, match="frame 0 of the sequence: the network gives numbers that are not finite"):
        list(model.restore(pictures(2, 8, 8)))


@one_network
def test_memory_does_not_grow_with_the_length(exported, load_model, tmp_path: Path) -> None:
    from vsr_plugin.export.onnx_restorer import Records

    frame = pictures(1, 64, 96)[0]
    model = load_model(exported["steps"], 1)
    peaks = []
    for t in (4, 24):
        frames = Records(tmp_path / "frames")
        for i in range(t):
            frames[i] = frame
        tracemalloc.start()
        for _ in model.restore(frames, folder=tmp_path):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        frames.close()
    assert peaks[1] < peaks[0] + 50_000
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]


def test_a_full_disk_is_a_line(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from vsr_plugin.export.onnx_restorer import Records

    if not Path("/dev/full").exists():
        pytest.skip("no device that is always full")
    (tmp_path / "frames").symlink_to("/dev/full")
    records = Records(tmp_path / "frames")
    with pytest.raises(VSRError, match=r"frames: cannot be written \(No space left on device\); free space"):
        records[0] = np.zeros(100_000, np.uint8)
    records.close()


#: What the tool is to do without.
WITHOUT = ("torch", "torchvision", "mmengine", "mmcv", "mmagic", "scipy", "matplotlib", "tqdm")


def run_isolated(code: str, without: tuple[str, ...] = WITHOUT) -> subprocess.CompletedProcess:
    # With packages that are found nowhere. None in `sys.modules` would not do: some code asks whether a name is in
    # there.
    absence = (
        "import contextlib, io, json, runpy, sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {without!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    return subprocess.run([sys.executable, "-I", "-c", absence + code], capture_output=True, text=True, timeout=120)


def argv(arguments: tuple) -> list[str]:
    return ["onnx_restore.py", *map(str, arguments)]


def run(*arguments: object, without: tuple[str, ...] = WITHOUT, tool: Path = TOOL) -> subprocess.CompletedProcess:
    code = f"sys.argv = {argv(arguments)!r}\nrunpy.run_path({str(tool)!r}, run_name='__main__')\n"
    return run_isolated(code, without)


def run_in_turn(*commands: tuple) -> list[tuple[int, str]]:
    """Statuses and standard errors of commands, all run in one process."""
    code = (
        "done = []\n"
        f"for sys.argv in {[argv(command) for command in commands]!r}:\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as error:\n"
        "        try:\n"
        f"            runpy.run_path({str(TOOL)!r}, run_name='__main__')\n"
        "        except SystemExit as stop:\n"
        "            done.append((stop.code, error.getvalue()))\n"
        "print(json.dumps(done))\n"
    )
    finished = run_isolated(code)
    # Nothing past Python's streams either.
    assert (finished.returncode, finished.stderr) == (0, "")
    return json.loads(finished.stdout.splitlines()[-1])


def test_a_folder_and_an_image_without_pytorch(small, exported, tmp_path: Path) -> None:
    frames = pictures(11, 16, 24)
    (tmp_path / "in").mkdir()
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "in" / f"{i}.png")
    done = run(exported["steps"], tmp_path / "in", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = [np.array(Image.open(tmp_path / "out" / f"{i}.png")) for i in range(11)]
    assert_within_rounding(found, small[0], frames)

    alpha = np.zeros((16, 24), np.uint8)
    alpha[4:, 8:] = 255
    Image.fromarray(np.dstack((frames[0], alpha))).save(tmp_path / "one.png")
    done = run(exported["whole"], tmp_path / "one.png", tmp_path / "one")
    assert done.returncode == 0, done.stderr
    restored = np.array(Image.open(tmp_path / "one" / "one.png"))
    assert_within_rounding([restored[..., :3]], small[0], frames[:1])
    inside, outside = 10 * small[0].scale, small[0].scale
    alphas = [restored[y, x, 3] for y, x in ((inside, inside), (outside, inside), (inside, outside))]
    assert alphas == [255, 0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "one", "one.png", "out"]


def turn_right(container: av.container.OutputContainer, stream: av.VideoStream) -> None:
    stream.set_display_matrix((0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30))


#: Of each kind of video: its name, how it is made, and what the tool says of it.
VIDEOS = {
    "plain with sound": ("in.mp4", dict(audio="aac"), []),
    "rotated": ("in.mp4", dict(setup=turn_right), []),
    "wide pixels": ("in.mp4", dict(tags=dict(sample_aspect_ratio=Fraction(16, 15))), []),
    "changing distances": (
        "in.mp4",
        dict(unit=Fraction(1, 90000), times=[(t * 1500, 1500) for t in (0, 2, 22, 23, 25, 31, 32)]),
        [],
    ),
    "HDR": (
        "in.mkv",
        dict(
            pix_fmt="yuv420p10le",
            tags=dict(colorspace=9, color_primaries=9, color_trc=16, color_range=1),
        ),
        ["the video is HDR", "the output has 10 bits per sample"],
    ),
    "interlaced": (
        "in.mkv", dict(options={"qp": "0", "flags": "+ildct+ilme"}), ["the video is interlaced; whole frames are made"]
    ),
    "full range": ("in.mp4", dict(tags=dict(color_range=2, colorspace=1, color_primaries=1, color_trc=1)), []),
}  # fmt: skip


@one_network
@pytest.mark.parametrize("kind", VIDEOS)
def test_a_video_is_carried_over_as_by_restore_video(kind, small, exported, media, monkeypatch, tmp_path: Path) -> None:
    # Our CPU kernels round otherwise than both runtimes' operators: one of 100 000 values is a grey level off, upon
    # which the encoder decides otherwise. What is looked at here is what is carried over.
    monkeypatch.setattr("vsr_plugin.acceleration.cpu.kernels.self_test._WORTH_COMPILING", 2**62)
    name, how, notes = VIDEOS[kind]
    source = media.make_clip(tmp_path / name, pictures=pictures(7, 32, 48), n=7, size=(32, 48), **how)
    expected, found = (tmp_path / f"{who}_{name}" for who in ("expected", "found"))
    restore_video(source, expected, small[0], RestoreOptions(scene_cuts="off", clean="off"))

    done = run(exported["whole"], source, found)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"found_{name}: 7 frames\n")
    for note in notes:
        assert f"note: {note}" in done.stdout

    a, b = media.probe(found), media.probe(expected)
    for fact in ("size", "rate", "duration", "pts", "time_base", "aspect", "rotation", "pix_fmt", "colour"):
        assert getattr(a, fact) == getattr(b, fact), fact
    original = media.probe(source)
    assert a.pts == original.pts
    assert a.aspect == original.aspect
    assert a.rotation == original.rotation
    assert a.size == (4 * 32, 4 * 48)
    if kind == "HDR":
        assert (a.colour, a.pix_fmt) == (original.colour, original.pix_fmt)
    if "audio" in how:
        assert media.packets(found) == media.packets(source)
    # Single grey levels of rounding become more in the encoder, but brightness stays where it is.
    with open_source(found) as one, open_source(expected) as other:
        for mine, theirs in zip(one.frames(), other.frames(), strict=True):
            difference = (mine.rgb.astype(float) - theirs.rgb) / np.iinfo(mine.rgb.dtype).max * 255
            assert abs(difference.mean()) < 0.05
            assert np.abs(difference).mean() < 1


@one_network
def test_what_decodes_of_a_cut_off_video_is_restored(exported, media, tmp_path: Path) -> None:
    whole = media.make_clip(
        tmp_path / "whole.mp4", pictures=pictures(20, 32, 48), n=20, size=(32, 48),
        container_options={"movflags": "faststart"},
    )  # fmt: skip
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    done = run(exported["steps"], cut, tmp_path / "out.mp4")
    assert done.returncode == 0, done.stderr
    count = len(media.probe(tmp_path / "out.mp4").pts)
    assert 5 <= count < 20
    assert f"note: the video is cut off or damaged: {count} of 20 frames decode, those are used\n" in done.stdout


@one_network
def test_a_part_with_its_sound(small, exported, media, tmp_path: Path) -> None:
    source = media.make_clip(tmp_path / "in.mp4", pictures=pictures(20, 16, 24), n=20, size=(16, 24), audio="aac")
    done = run(exported["steps"], source, tmp_path / "out.mkv", "--start", 5, "--num-frames", 8, "--codec", "ffv1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("out.mkv: 8 frames\n")
    with open_source(source) as given, open_source(tmp_path / "out.mkv") as made:
        frames = [frame.rgb for frame in given.frames(5, 8)]
        assert_within_rounding([frame.rgb for frame in made.frames()], small[0], frames)
    # 8 frames at 25 a second, and the sound that belongs to them.
    assert 0 < len(media.packets(tmp_path / "out.mkv")) < len(media.packets(source))


@one_network
def test_webm(exported, media, tmp_path: Path) -> None:
    source = media.make_clip(tmp_path / "in.mp4", pictures=pictures(3, 16, 24), n=3, size=(16, 24), audio="aac")
    out = tmp_path / "out.webm"
    done = run(exported["steps"], source, out)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "a .webm file cannot hold the source's aac audio; choose .mkv or " in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]

    done = run(exported["steps"], source, out, "--no-audio")
    assert done.returncode == 0, done.stderr
    with av.open(str(out)) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == "vp9"
    assert len(media.probe(out).pts) == 3


@one_network
def test_bad_input_is_one_line_and_leaves_nothing(exported, media, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "bad.onnx").write_text("no model")
    clip = media.make_clip(tmp_path / "clip.mp4", n=2, size=(16, 24))
    before = sorted(tmp_path.iterdir())
    out = tmp_path / "out.mp4"
    cases = (
        ((tmp_path / "no.onnx", clip, out), "no.onnx: no such model; make one with"),
        ((tmp_path / "bad.onnx", clip, out), "bad.onnx: onnxruntime cannot open it"),
        ((tmp_path / "empty", clip, out), "not a folder of export_onnx.py --parts; missing: reconstruct"),
        ((exported["steps"] / "flow.onnx", clip, out), "not a whole-sequence model"),
        ((exported["whole"], tmp_path / "empty", out), "empty: holds no images"),
        ((exported["whole"], tmp_path / "text.mp4", out), "text.mp4: not a video that can be opened"),
        ((exported["whole"], tmp_path / "no.mp4", out), "no.mp4: no such file or folder"),
        ((exported["whole"], clip, tmp_path / "out.gif"), "out.gif: cannot write .gif files; name a video"),
        ((exported["whole"], clip, clip), "clip.mp4: is the input as well"),
        ((exported["whole"], clip, out, "--codec", "x"), "unknown codec 'x'"),
    )
    done = run_in_turn(*(arguments for arguments, _ in cases))
    for (status, error), (_, message) in zip(done, cases, strict=True):
        assert status == 1
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert message in error
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("fault", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted; nothing was written under the final name\n"),
        (MemoryError(), 1, "error: out of memory; use --window, or take a folder of export_onnx.py --parts\n"),
    ],
    ids=["interrupted", "out of memory"],
)
def test_work_that_stops_leaves_nothing(fault, status, message, media, run_tool, tmp_path: Path, monkeypatch) -> None:
    class Stops:
        scale = 1

        def restore(self, frames, **options):
            yield frames[0]
            raise fault

    clip = media.make_clip(tmp_path / "in.mp4", n=3, size=(16, 24))
    monkeypatch.setattr("vsr_plugin.export.onnx_restorer.load_model", lambda path, threads: Stops())
    done, _, error = run_tool("onnx_restore", "model", clip, tmp_path / "out.mp4")
    # Behind the bar, which ends where it was.
    assert (done, error.splitlines(keepends=True)[-1]) == (status, message)
    assert list(tmp_path.iterdir()) == [clip]


@pytest.mark.parametrize(
    ("absent", "cure"),
    [
        (("onnxruntime",), "the package onnxruntime is not installed; pip install -r requirements/export.txt"),
        (("numpy", "onnxruntime", "av"), "the package numpy is not installed; pip install numpy"),
        (("cv2",), "the package cv2 is not installed; pip install opencv-python-headless"),
    ],
    ids=["onnxruntime", "all", "OpenCV"],
)
def test_without_packages_one_line_says_what_to_install(absent, cure, tmp_path: Path) -> None:
    if "onnxruntime" not in absent:
        pytest.importorskip("onnxruntime")
    done = run("model.onnx", "in.mp4", tmp_path / "out.mp4", without=(*WITHOUT, *absent))
    assert (done.returncode, done.stderr) == (1, f"error: {cure}\n")
    done = run("--help", without=(*WITHOUT, *absent))
    assert (done.returncode, done.stderr) == (0, "")
    assert "MODEL is a file of tools/export_onnx.py" in done.stdout


def test_alone_the_tool_asks_for_its_checkout(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    tool = shutil.copy(TOOL, tmp_path / "tools")
    done = run("model.onnx", "in.mp4", "out.mp4", without=(*WITHOUT, "vsr_plugin"), tool=tool)
    expected = "error: the folder vsr_plugin is not beside tools/; run this tool in a whole checkout\n"
    assert (done.returncode, done.stderr) == (1, expected)
