"""Sets made ready: which clips are found in which split, what is made of them, and what is refused."""

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from published_sets import (
    contents,
    frames_of,
    make_reds,
    make_test_set,
    make_vimeo,
    picture,
    write_clip,
    write_pair,
)

from vsr_plugin.data.clip_dataset import ClipDataset
from vsr_plugin.data.clips import find_clips, read_clip_names
from vsr_plugin.data.degradations import blur_downsample
from vsr_plugin.data.preparation.prepare import prepare
from vsr_plugin.data.preparation.products import Request
from vsr_plugin.errors import DataError, MediaError
from vsr_plugin.ops.resize import bicubic_downsample


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def run(tmp_path, out):
    """Prepare the set below ``set``; returns what was reported."""

    def prepare_set(name, *degradations, pack=False, **options):
        lines = []
        request = Request(options.pop("out", out), degradations, pack)
        prepare(name, options.pop("root", tmp_path / "set"), request, report=lines.append, **options)
        return "\n".join(lines)

    return prepare_set


def names(out: Path, split: str) -> list[str]:
    return read_clip_names(out / f"{split}.txt")


def manifest(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_text())


@pytest.mark.parametrize("merged", [False, True])
def test_reds(run, tmp_path, out, merged):
    root = make_reds(tmp_path / "set", merged=merged)
    before = contents(root)
    said = run("reds", "BI", pack=True)
    # The same store, whether or not the clips of validation were appended to those of training.
    assert names(out / "packed", "test") == ["000", "011", "015", "020"]
    assert names(out / "packed", "val") == ["240", "241", "246", "257"]
    assert names(out / "packed", "train") == ["001", "002", "242", "243"]
    assert names(out, "val") == (["240", "241", "246", "257"] if merged else ["000", "001", "006", "017"])
    assert ("2 clips of train lie in a second folder" in said) is not merged
    assert "258 (003, 004, 005 and 255 more) of the published clips" in said
    source = "train_sharp/242" if merged else "val_sharp/002"
    assert manifest(out)["clips"]["242"] == {
        "split": "train",
        "source": source,
        "frames": 3,
        "height": 16,
        "width": 24,
        "files": {"packed/GT": "packed/GT/242.npy", "packed/BIx4": "packed/BIx4/242.npy"},
    }
    np.testing.assert_array_equal(np.load(out / "packed/GT/242.npy"), frames_of(source, 3))
    assert manifest(out)["degradations"]["BI"]["origin"] == "found"
    assert contents(root) == before


def test_reds_as_its_archives_unpack_it(run, tmp_path, out):
    make_reds(tmp_path / "flat")
    for split in ("train", "val"):
        (tmp_path / "set" / split).mkdir(parents=True)
    for folder in (tmp_path / "flat").iterdir():
        folder.rename((tmp_path / "set" / folder.name.partition("_")[0]).joinpath(folder.name))
    run("reds", "BI", pack=True)
    assert names(out / "packed", "val") == ["240", "241", "246", "257"]
    assert names(out / "packed", "train") == ["001", "002", "242", "243"]
    assert manifest(out)["degradations"]["BI"]["origin"] == "found"


def test_reds_without_lr(run, tmp_path, out):
    make_reds(tmp_path / "set", lr=False)
    run("reds", "BD")
    assert sorted(p.name for p in (out / "BDx4").iterdir()) == ["000", "001", "002", "011", "015", "020"]
    assert sorted(p.name for p in (out / "val_BDx4").iterdir()) == ["000", "001", "002", "003", "006", "017"]
    described = manifest(out)["degradations"]["BD"]
    assert (described["origin"], described["sigma"], described["scale"]) == ("made", 1.6, 4)


@pytest.mark.parametrize("gt", ["sequences", "GT"])
def test_vimeo90k(run, tmp_path, out, gt):
    make_vimeo(tmp_path / "set", gt=gt)
    run("vimeo90k", "BI", "BD")
    assert names(out, "train") == ["00001/0001", "00001/0002", "00002/0001"]
    assert names(out, "test") == ["00001/0003", "00003/0001"]
    folder = out / "BDx4" / "00003" / "0001"
    assert sorted(p.name for p in folder.iterdir()) == [f"im{i}.png" for i in range(1, 8)]
    frames = np.stack(frames_of(f"{gt}/00003/0001", 7))
    for degradation, downsample in (("BI", bicubic_downsample), ("BD", blur_downsample)):
        clip = find_clips(out / f"{degradation}x4")["00003/0001"]
        np.testing.assert_array_equal(clip.read(range(7)), downsample(frames))
    # What the data set is asked for in training.
    pairs = ClipDataset(gt_root=tmp_path / "set" / gt, lq_root=out / "BIx4", ann_file=out / "train.txt")
    assert len(pairs) == 3


def test_vid4_and_udm10(run, tmp_path, out):
    make_test_set(tmp_path / "set", ["calendar", "city", "foliage"])
    said = run("vid4", "BD", pack=True)
    assert "1 (walk) of the published clips; frames at the end of 3 (calendar, city, foliage)" in said
    assert names(out, "test") == ["calendar", "city", "foliage"]
    # Both versions came with the set, so both are packed as they are.
    frames = frames_of("GT/city", 3)
    for degradation, downsample in (("BI", bicubic_downsample), ("BD", blur_downsample)):
        np.testing.assert_array_equal(
            np.load(out / f"packed/{degradation}x4/city.npy"), [downsample(frame) for frame in frames]
        )
    make_test_set(tmp_path / "udm10", ["archpeople", "band"], pattern="{:04d}.png")
    assert "8 (archwall, auditorium, caffe and 5 more)" in run("udm10", root=tmp_path / "udm10", check_only=True)


def test_clips_of_ones_own(run, tmp_path, out, media):
    root = tmp_path / "set"
    write_clip(root / "b 10" / "shot", frames_of("b", 4), pattern="f{}.jpg", first=7)
    write_clip(root / "val" / "c", frames_of("c", 2))
    media.make_clip(root / "holiday.mp4", n=6, size=(36, 50))
    run("folder", "BI", pack=True, held_out={"test": ["holiday"]})
    packed = out / "packed"
    assert (names(packed, "train"), names(packed, "val"), names(packed, "test")) == (
        ["b 10/shot"],
        ["val/c"],
        ["holiday"],
    )
    # Cut to multiples of four, so that LR is a quarter of it.
    gt, lr = np.load(packed / "GT/holiday.npy"), np.load(packed / "BIx4/holiday.npy")
    assert (gt.shape, lr.shape) == ((6, 36, 48, 3), (6, 9, 12, 3))
    np.testing.assert_array_equal(gt, find_clips(root)["holiday"].read(range(6))[:, :, :48])
    np.testing.assert_array_equal(lr, bicubic_downsample(gt))
    sample = ClipDataset(
        gt_root=packed / "GT", lq_root=packed / "BIx4", ann_file=packed / "test.txt", num_input_frames=3
    )[0]
    assert sample["gt"][0].shape == (36, 48, 3)


def test_lr_of_some_clips_is_not_mixed_with_ours(run, tmp_path, out):
    make_test_set(tmp_path / "set", ["calendar", "city"])
    shutil.rmtree(tmp_path / "set" / "BIx4" / "city")
    said = run("vid4", "BI")
    assert "BI of 1, to be made" in said
    assert sorted(p.name for p in (out / "BIx4").iterdir()) == ["calendar", "city"]
    assert manifest(out)["degradations"]["BI"]["origin"] == "made"


def test_second_run_makes_nothing(run, tmp_path, out):
    make_vimeo(tmp_path / "set")
    run("vimeo90k", "BI", pack=True, splits=["test"])
    first = contents(out)
    assert "everything is there already" in run("vimeo90k", "BI", pack=True, splits=["test"])
    assert contents(out) == first
    run("vimeo90k", "BI", pack=True, splits=["train"])
    assert len(manifest(out)["clips"]) == 5
    run("vimeo90k", "BI")
    assert set(manifest(out)["clips"]["00001/0001"]["files"]) == {"packed/GT", "packed/BIx4", "BIx4"}


def test_what_a_killed_run_left_is_cleared(run, tmp_path, out):
    make_vimeo(tmp_path / "set")
    left = out / "BIx4" / "00001" / ".0001.partial"
    left.mkdir(parents=True)
    (left / "zzz.png").write_bytes(b"half")
    (out / "packed" / "GT" / "00001").mkdir(parents=True)
    (out / "packed" / "GT" / "00001" / ".0001.npy.partial").write_bytes(b"half")
    run("vimeo90k", "BI")
    run("vimeo90k", pack=True)
    assert not [name for name in contents(out) if "partial" in name or "zzz" in name]


def test_something_else_under_the_name(run, tmp_path, out):
    make_vimeo(tmp_path / "set")
    write_clip(out / "BIx4" / "00001" / "0001", [picture(0)])
    with pytest.raises(DataError, match=r"BIx4/00001/0001: is there already with 1 frames of 24x16, not 7 of 6x4"):
        run("vimeo90k", "BI")


def test_another_set_in_out(run, tmp_path):
    make_vimeo(tmp_path / "set")
    make_test_set(tmp_path / "vid4", ["city"])
    run("vimeo90k")
    with pytest.raises(DataError, match=r"manifest\.json: is of set vimeo90k, root .*, not of vid4"):
        run("vid4", root=tmp_path / "vid4")


def damage(clip: Path, kind: str) -> None:
    if kind == "missing":
        (clip / "im4.png").unlink()
    elif kind == "size":
        cv2.imwrite(str(clip / "im3.png"), picture(0, (20, 24)))
    elif kind == "last":
        (clip / "im7.png").write_bytes((clip / "im7.png").read_bytes()[:200])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", r"clip 00001/0002 .*frame 4 is missing between im3\.png and im5\.png"),
        ("size", r"clip 00001/0002 .*im3\.png is 24x20, im1\.png is 24x16"),
        ("last", r"clip 00001/0002, frame im7 .*does not decode"),
    ],
)
def test_damaged_clip(run, tmp_path, out, kind, message):
    make_vimeo(tmp_path / "set")
    damage(tmp_path / "set/sequences/00001/0002", kind)
    lines = []
    with pytest.raises(DataError, match="1 faults in 5 clips, see above"):
        prepare("vimeo90k", tmp_path / "set", Request(out, ("BI",), True), report=lines.append)
    assert len(lines) == 2
    assert re.search(message, lines[1])
    assert not out.exists()


@pytest.mark.parametrize("kind", ["frames", "size", "first"])
def test_lr_that_does_not_fit(run, tmp_path, kind):
    root = make_test_set(tmp_path / "set", ["calendar", "city"])
    folder = root / "BDx4" / "city"
    if kind == "frames":
        (folder / "00000002.png").unlink()
    elif kind == "size":
        for file in folder.iterdir():
            cv2.imwrite(str(file), picture(0, (5, 6)))
    else:
        for file in sorted(folder.iterdir(), reverse=True):
            file.rename(folder / f"{int(file.stem) + 1:08d}.png")
    lines = []
    with pytest.raises(DataError, match="1 faults"):
        prepare("vid4", root, Request(tmp_path / "out", (), False), report=lines.append)
    expected = {
        "frames": "has 3 frames",
        "size": "LR must be 6x4",
        "first": "begins with frame 00000000",
    }[kind]
    assert "clip city" in lines[1]
    assert expected in lines[1]


def test_one_clip_in_both_lists(run, tmp_path):
    root = make_vimeo(tmp_path / "set")
    with open(root / "sep_testlist.txt", "a") as file:
        file.write("00002/0001\n")
    with pytest.raises(DataError, match="clip 00002/0001 is both in train and in test"):
        run("vimeo90k")


def test_copy_of_a_test_clip_trains(run, tmp_path):
    root = tmp_path / "set"
    black = np.zeros((16, 24, 3), np.uint8)
    write_clip(root / "a", [black, *frames_of("a", 4)])
    write_clip(root / "b", [black, *frames_of("b", 4)])
    assert "done" in run("folder", held_out={"test": ["b"]}, out=tmp_path / "first")
    # Packed or not, and under another name, the pixels are the same.
    run("folder", pack=True, held_out={"test": ["b"]}, out=tmp_path / "packed")
    shutil.copy(tmp_path / "packed/packed/GT/b.npy", root / "c.npy")
    with pytest.raises(DataError, match="1 faults in 3 clips"):
        run("folder", held_out={"test": ["b"]})


@pytest.mark.parametrize("source", ["train_sharp/011", "val_sharp/001"])
def test_copy_of_a_test_clip_trains_under_another_number(tmp_path, source):
    root = make_reds(tmp_path / "set", lr=False)
    shutil.copytree(root / source, root / "train_sharp/100")
    lines = []
    with pytest.raises(DataError, match="1 faults in 13 clips"):
        prepare("reds", root, Request(tmp_path / "out", (), False), report=lines.append, check_only=True)
    held_out = "011, which is to test" if "011" in source else "241, which is to validate"
    assert lines[1:] == [f"clip 100 trains and has frames of clip {held_out}; take one of them away"]


def test_copy_within_published_lists_is_told(run, tmp_path):
    root = make_vimeo(tmp_path / "set")
    shutil.copytree(root / "sequences/00003/0001", root / "sequences/00009/0001")
    with open(root / "sep_trainlist.txt", "a") as file:
        file.write("00009/0001\n")
    note = "note: clip 00009/0001 trains and has frames of clip 00003/0001, which is to test"
    assert note in run("vimeo90k", check_only=True)


def test_another_set_than_it_is_said_to_be(run, tmp_path):
    make_test_set(tmp_path / "set", ["calendar", "city", "foliage", "walk"])
    message = (
        r"none of the 10 clips of UDM10 \(archpeople, archwall, auditorium, \.\.\.\) is there, but calendar, city, "
        r"foliage, \.\.\.; they look like Vid4, which is set vid4$"
    )
    with pytest.raises(DataError, match=message):
        run("udm10", check_only=True)
    write_clip(tmp_path / "mine" / "GT" / "walking", frames_of("walking", 3))
    with pytest.raises(DataError, match=r"but walking; check the path and the set$"):
        run("vid4", root=tmp_path / "mine", check_only=True)


def test_named_clip_is_not_there(run, tmp_path):
    write_clip(tmp_path / "set" / "a", frames_of("a", 3))
    with pytest.raises(DataError, match="holds no clip b, which is to be in test"):
        run("folder", held_out={"test": ["b"]})
    make_reds(tmp_path / "reds")
    with pytest.raises(DataError, match="the splits of REDS are fixed"):
        run("reds", root=tmp_path / "reds", held_out={"test": ["001"]})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense", "no set is called 'nonsense'; there are reds, vimeo90k"),
        (
            "reds",
            r"is not laid out as REDS, none of train_sharp/, val_sharp/, .* is there; see docs/data\.md",
        ),
        ("vid4", "is not laid out as Vid4"),
        ("folder", "holds no clips"),
    ],
)
def test_empty_folder(run, tmp_path, name, message):
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match=message):
        run(name)
    with pytest.raises(DataError, match=r"no such folder|no set"):
        run(name, root=tmp_path / "nowhere")


def test_no_lists(run, tmp_path):
    make_vimeo(tmp_path / "set")
    for path in (tmp_path / "set").glob("*.txt"):
        path.unlink()
    with pytest.raises(DataError, match=r"no list of clips is there; put one of sep_trainlist\.txt"):
        run("vimeo90k")


def test_split_without_clips(run, tmp_path):
    make_test_set(tmp_path / "set", ["city"])
    with pytest.raises(DataError, match="holds no clips of train; there are clips of test"):
        run("vid4", splits=["train"])


def test_out_among_the_clips(run, tmp_path):
    write_clip(tmp_path / "set" / "a", frames_of("a", 3))
    with pytest.raises(DataError, match="lies inside the folder of clips"):
        run("folder", out=tmp_path / "set" / "made")
    # Beside GT it cannot be taken for ground truth.
    write_pair(tmp_path / "other", "GT", {}, "a")
    run("folder", "BI", root=tmp_path / "other", out=tmp_path / "other")
    assert (tmp_path / "other/BIx4/a/00000002.png").is_file()
    assert "done" in run("folder", "BI", root=tmp_path / "other", out=tmp_path / "other")
    assert manifest(tmp_path / "other")["degradations"]["BI"]["origin"] == "made"


def test_check_only_writes_nothing(run, tmp_path, out):
    make_vimeo(tmp_path / "set")
    said = run("vimeo90k", "BI", pack=True, check_only=True).splitlines()
    assert [line.split()[:4] for line in said[1:]] == [["train", "3", "21", "24x16"], ["test", "2", "14", "24x16"]]
    assert not out.exists()


@pytest.mark.parametrize("pack", [False, True])
def test_full_disk(run, tmp_path, out, pack, monkeypatch):
    make_vimeo(tmp_path / "set")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(MediaError, match=r"out: .* GB are needed and 0\.00 GB are free"):
        run("vimeo90k", "BI", pack=pack)
    assert contents(out) == {}


def test_disk_that_fills_up_while_images_are_written(run, tmp_path, out, monkeypatch):
    make_vimeo(tmp_path / "set")
    write = Path.write_bytes

    def fail(path, data):
        if path.name == "im5.png":
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(MediaError, match=r"0001: writing im5\.png failed \(No space left on device\)"):
        run("vimeo90k", "BI")
    assert contents(out) == {}
    monkeypatch.undo()
    run("vimeo90k", "BI")
    assert len([name for name in contents(out) if name.endswith(".png")]) == 35
