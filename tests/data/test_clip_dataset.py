"""Samples of clips: which frames and pixels, the same wherever they come from, and what is refused at the start."""

import random

import numpy as np
import pytest
import torch
from clip_folders import make_frames, write_images, write_packed, write_video
from mmengine.dataset import worker_init_fn
from torch.utils.data import DataLoader

from vsr_plugin.data import ConcatClips, ResumableSampler
from vsr_plugin.data.degradations import DEGRADATIONS, blur_downsample
from vsr_plugin.data.sampling import SeededIndex
from vsr_plugin.errors import DataError
from vsr_plugin.ops.resize import bicubic_downsample
from vsr_plugin.registry import DATASETS

FLIPS = [
    dict(type="Flip", keys=["img", "gt"], direction="horizontal"),
    dict(type="Flip", keys=["img", "gt"], direction="vertical"),
    dict(type="RandomTransposeHW", keys=["img", "gt"]),
]


def build(**config):
    return DATASETS.build(dict(type="ClipDataset", **config))


def first(items):
    return items[0]


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Three clips of 6, 5 and 3 frames, as PNG files with LR beside them."""
    root = tmp_path_factory.mktemp("clips")
    for seed, (name, t) in enumerate([("a/000", 6), ("a/001", 5), ("b/010", 3)]):
        gt = make_frames(t, 48, 64, seed)
        write_images(root / "gt" / name, gt)
        write_images(root / "BIx4" / name, bicubic_downsample(gt))
    return root


@pytest.fixture
def said(caplog):
    """What the log says; mmengine's logger does not hand on what it logs."""
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield lambda: [record.getMessage() for record in caplog.records]
    logger.removeHandler(caplog.handler)


def test_whole_clips(roots):
    data = build(gt_root=roots / "gt", lq_root=roots / "BIx4", pipeline=[dict(type="PackInputs")])
    assert len(data) == 3
    assert data.metainfo["scale"] == 4
    item = data[0]
    gt = make_frames(6, 48, 64, 0)
    sample = item["data_samples"]
    assert np.array_equal(sample.gt_img.permute(0, 2, 3, 1), gt)
    assert np.array_equal(item["inputs"].permute(0, 2, 3, 1), bicubic_downsample(gt))
    assert (item["inputs"].dtype, sample.gt_img.dtype) == (torch.uint8, torch.uint8)
    assert (sample.key, sample.frames) == ("a/000", [0, 1, 2, 3, 4, 5])
    assert [data[i]["data_samples"].key for i in range(3)] == ["a/000", "a/001", "b/010"]


def test_samples_are_aligned_crops_of_consecutive_frames(roots):
    data = build(gt_root=roots / "gt", lq_root=roots / "BIx4", num_input_frames=3, gt_size=16)
    places, starts = set(), set()
    for seed in range(60):
        sample = data[SeededIndex(0, seed)]
        assert len(sample["img"]) == len(sample["gt"]) == 3
        assert sample["frames"] == list(range(sample["frames"][0], sample["frames"][0] + 3))
        gt = make_frames(6, 48, 64, 0)[sample["frames"]]
        lr = bicubic_downsample(gt)
        [(top, left)] = [
            (y, x)
            for y in range(9)
            for x in range(13)
            if np.array_equal(lr[:, y : y + 4, x : x + 4], np.stack(sample["img"]))
        ]
        assert np.array_equal(np.stack(sample["gt"]), gt[:, 4 * top : 4 * top + 16, 4 * left : 4 * left + 16])
        places.add((top, left))
        starts.add(sample["frames"][0])
    assert starts == {0, 1, 2, 3}
    assert {min(y for y, _ in places), max(y for y, _ in places)} == {0, 8}
    assert {min(x for _, x in places), max(x for _, x in places)} == {0, 12}


def test_interval(roots):
    data = build(gt_root=roots / "gt", lq_root=roots / "BIx4", include=["a/*"], num_input_frames=3, interval=2)
    assert {tuple(data[SeededIndex(0, seed)]["frames"]) for seed in range(20)} == {(0, 2, 4), (1, 3, 5)}
    assert data[1]["frames"] == [0, 2, 4]


@pytest.mark.parametrize("kind", ["BI", "BD"])
def test_a_crop_is_the_same_from_every_kind_of_clip_and_from_lr_made_while_reading(tmp_path, media, kind):
    gt = make_frames(6, 45, 67, 3)  # no multiples of 4: cropped to 44x64
    lr = DEGRADATIONS[kind].downsample(gt[:, :44, :64], 4)
    roots = {name: tmp_path / name for name in ("images", "packed", "video", "lr_images", "lr_packed")}
    write_images(roots["images"] / "c", gt)
    write_packed(roots["packed"] / "c.npy", gt)
    write_video(roots["video"] / "c.mkv", gt, media)
    write_images(roots["lr_images"] / "c", lr)
    write_packed(roots["lr_packed"] / "c.npy", lr)
    options = dict(num_input_frames=3, gt_size=16, degradation=kind, pipeline=[*FLIPS, dict(type="PackInputs")])
    sets = [
        build(gt_root=roots[gt], lq_root=lq and roots[lq], **options)
        for gt in ("images", "packed", "video")
        for lq in (None, "lr_images", "lr_packed")
    ]
    for seed in range(25):
        samples = [data[SeededIndex(0, seed)] for data in sets]
        for sample in samples:
            assert torch.equal(sample["inputs"], samples[0]["inputs"])
            assert torch.equal(sample["data_samples"].gt_img, samples[0]["data_samples"].gt_img)
        frames = samples[0]["data_samples"].frames
        assert sample["inputs"].shape == (3, 3, 4, 4)
        assert frames[-1] - frames[0] == 2
    assert np.array_equal(np.stack(build(gt_root=roots["packed"], degradation=kind)[0]["img"]), lr)


def test_flips_turn_lr_and_gt_and_all_frames_alike(tmp_path):
    # Nearest-neighbour LR, of which every augmentation of GT is the augmentation.
    lr = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    write_packed(tmp_path / "lr" / "c.npy", lr)
    write_packed(tmp_path / "gt" / "c.npy", lr.repeat(4, 1).repeat(4, 2))
    data = build(gt_root=tmp_path / "gt", lq_root=tmp_path / "lr", num_input_frames=3, gt_size=32, pipeline=FLIPS)
    seen = set()
    for seed in range(60):
        sample = data[SeededIndex(0, seed)]
        img = np.stack(sample["img"])
        assert np.array_equal(img.repeat(4, 1).repeat(4, 2), np.stack(sample["gt"]))
        # The turn is known by which corner of the first frame came where; all frames had the same one.
        turned = [
            flipped
            for original in (lr, lr.swapaxes(1, 2))
            for flipped in (original, original[:, ::-1], original[:, :, ::-1], original[:, ::-1, ::-1])
        ]
        [which] = [i for i, frames in enumerate(turned) if np.array_equal(frames, img)]
        seen.add(which)
    assert seen == set(range(8))


def test_a_draw_alone_decides_about_a_sample(roots):
    data = build(gt_root=roots / "gt", degradation="BI", num_input_frames=2, gt_size=16, pipeline=FLIPS)
    sample = data[SeededIndex(1, 7)]
    state = random.getstate(), np.random.get_state()[1].copy()
    data[SeededIndex(0, 3)]
    again = data[SeededIndex(1, 7)]
    assert (random.getstate() == state[0], (np.random.get_state()[1] == state[1]).all()) == (True, True)
    assert sample["frames"] == again["frames"]
    assert np.array_equal(np.stack(sample["gt"]), np.stack(again["gt"]))
    others = [data[SeededIndex(1, seed)] for seed in range(8)]
    assert len({np.stack(other["gt"]).tobytes() for other in others}) > 6
    assert data[1]["key"] == "a/001"  # a plain index works too


def test_workers_make_the_samples_of_the_main_process(roots):
    def batches(workers):
        data = build(
            gt_root=roots / "gt", degradation="BI", num_input_frames=2, gt_size=16,
            pipeline=[*FLIPS, dict(type="MirrorSequence", keys=["img", "gt"]), dict(type="PackInputs")],
        )  # fmt: skip
        sampler = ResumableSampler(data, seed=5)
        loader = DataLoader(
            data, batch_size=1, sampler=sampler, num_workers=workers, collate_fn=first,
            worker_init_fn=lambda i: worker_init_fn(i, workers, 0, 0),
        )  # fmt: skip
        return [item for item, _ in zip(loader, range(6), strict=False)]

    for alone, helped in zip(batches(0), batches(2), strict=True):
        assert alone["data_samples"].key == helped["data_samples"].key
        assert alone["inputs"].shape == (4, 3, 4, 4)
        assert torch.equal(alone["inputs"], helped["inputs"])
        assert torch.equal(alone["data_samples"].gt_img, helped["data_samples"].gt_img)


def test_joined_sets_keep_the_draw(roots):
    config = dict(
        type="ClipDataset", gt_root=roots / "gt", degradation="BI", include=["a/*"], num_input_frames=2, gt_size=16
    )
    joined, alone = ConcatClips([config, config]), DATASETS.build(config)
    assert len(joined) == 4
    for index in range(4):
        assert np.array_equal(joined[SeededIndex(index, 11)]["gt"], alone[SeededIndex(index % 2, 11)]["gt"])


def test_joined_clips_of_one_name_stay_apart(roots):
    config = dict(type="ClipDataset", degradation="BI")
    joined = ConcatClips([dict(config, gt_root=roots / "gt" / folder) for folder in "ab"])
    assert [sample["key"] for sample in joined] == ["000", "001", "010"]
    joined = ConcatClips([dict(config, gt_root=roots / folder) for folder in ("gt", "BIx4")])
    assert [sample["key"] for sample in joined][::3] == ["gt/a/000", "BIx4/a/000"]
    assert len({sample["key"] for sample in joined}) == 6
    # One folder twice, as for two pipelines.
    joined = ConcatClips(
        [dict(config, gt_root=roots / "gt" / "b"), dict(config, gt_root=roots / "gt" / "a" / ".." / "b")]
    )
    assert [sample["key"] for sample in joined] == ["0/010", "1/010"]


def test_annotations_and_patterns_choose(roots, tmp_path):
    names = tmp_path / "names.txt"
    names.write_bytes(b"b/010 3 (48,64,3)\r\n\r\na/000 6 (48,64,3)\r\n")
    keys = lambda **options: [pair.name for pair in build(gt_root=roots / "gt", degradation="BI", **options).pairs]  # noqa: E731
    assert keys(ann_file=names) == ["b/010", "a/000"]
    assert keys(ann_file=names, exclude=["a/*"]) == ["b/010"]
    assert keys(include=["b/010"]) == ["b/010"]
    assert keys(include=["a/*"]) == ["a/000", "a/001"]
    assert keys(exclude=["a/000", "nowhere"]) == ["a/001", "b/010"]
    for include in (["a/000", "a/005"], ["a/*", "c/*"]):
        with pytest.raises(DataError, match=include[1].replace("*", r"\*")):
            keys(include=include)
    with pytest.raises(DataError, match="all clips are excluded"):
        keys(exclude=["*"])


def test_of_several_places_the_first_that_exists_is_taken(roots, tmp_path):
    dataset = build(gt_root=[tmp_path / "absent", roots / "gt"], lq_root=[roots / "none", roots / "BIx4"])
    assert (dataset.gt_root, dataset.lq_root) == (roots / "gt", roots / "BIx4")
    with pytest.raises(DataError, match="first: no such folder"):
        build(gt_root=[tmp_path / "first", tmp_path / "second"], degradation="BI")


def test_single_clips_need_not_have_one_name(roots):
    data = build(gt_root=roots / "gt" / "a" / "000", lq_root=roots / "BIx4" / "a" / "000")
    assert [pair.name for pair in data.pairs] == ["000"]
    (roots / "other").mkdir()
    (roots / "other" / "small").symlink_to(roots / "BIx4" / "a" / "000")
    data = build(gt_root=roots / "gt" / "a" / "000", lq_root=roots / "other" / "small")
    assert len(data[0]["img"]) == 6


def test_clips_of_one_frame_keep_their_time_axis(tmp_path):
    write_packed(tmp_path / "c.npy", make_frames(1, 16, 20))
    item = build(gt_root=tmp_path, degradation="BD", pipeline=[dict(type="PackInputs")])[0]
    assert item["inputs"].shape == (1, 3, 4, 5)
    assert item["data_samples"].gt_img.shape == (1, 3, 16, 20)


def test_the_log_says_once_that_lr_is_made(roots, said):
    build(gt_root=roots / "gt", lq_root=roots / "absent", degradation="BD")[0]
    assert [line for line in said() if "LR" in line] == [
        f"{roots}/gt: LR frames are made by BD x1/4 while reading, {roots}/absent does not exist"
    ]


def test_short_clips_are_left_out_and_named(roots, said):
    data = build(gt_root=roots / "gt", degradation="BI", num_input_frames=5)
    assert [pair.name for pair in data.pairs] == ["a/000", "a/001"]
    assert f"{roots}/gt: 1 clips are left out, shorter than 5 frames: b/010 (3)" in said()
    with pytest.raises(
        DataError, match=r"no clip has 11 frames, as num_input_frames=6 with interval=2 needs; .* has 6"
    ):
        build(gt_root=roots / "gt", degradation="BI", num_input_frames=6, interval=2)


def test_small_clips_are_left_out_and_named(tmp_path, said):
    write_packed(tmp_path / "large.npy", make_frames(2))
    write_packed(tmp_path / "small.npy", make_frames(2, 16, 48))
    data = build(gt_root=tmp_path, degradation="BI", gt_size=32)
    assert [pair.name for pair in data.pairs] == ["large"]
    assert f"{tmp_path}: 1 clips are left out, smaller than gt_size=32: small (48x16)" in said()
    with pytest.raises(DataError, match=r"clip large .* frames of 48x32 are smaller than gt_size=36"):
        build(gt_root=tmp_path, degradation="BI", gt_size=36)


def test_ground_truth_is_cropped_to_a_multiple_and_that_is_said(tmp_path, said):
    gt = make_frames(2, 18, 23)
    write_packed(tmp_path / "c.npy", gt)
    sample = build(gt_root=tmp_path, degradation="BI")[0]
    assert np.array_equal(np.stack(sample["gt"]), gt[:, :16, :20])
    assert np.array_equal(np.stack(sample["img"]), bicubic_downsample(gt[:, :16, :20]))
    assert any(
        "1 clips (c, ...) is cropped at the bottom and on the right to a multiple of 4" in line for line in said()
    )


@pytest.mark.parametrize("num_input_frames", [None, 2])
def test_what_does_not_fit_is_refused_before_the_first_sample(tmp_path, num_input_frames):
    gt = make_frames(5, 32, 48)

    def refused(message, **options):
        with pytest.raises(DataError, match=message):
            build(gt_root=tmp_path / "gt", num_input_frames=num_input_frames, **options)

    write_images(tmp_path / "gt" / "000", gt)
    refused("no lq_root is given; give the folder of LR frames, or degradation='BI' or 'BD'")
    refused("lr does not exist; give", lq_root=tmp_path / "lr")
    refused("must be one of BI, BD, pipeline, got 'bicubic'", degradation="bicubic")
    refused("gt_size must be a multiple of the scale 4, got 30", degradation="BI", gt_size=30)
    refused(r"clip 000 .* frames of 48x32 are smaller than gt_size=36", degradation="BI", gt_size=36)
    write_images(tmp_path / "lr" / "001", blur_downsample(gt))
    refused("clip 000 is not under .*lr", lq_root=tmp_path / "lr")
    write_images(tmp_path / "x2" / "000", gt[:, ::2, ::2])
    refused("clip 000: frame 00000000 of LR is 24x16 .* for scale 4 LR must be 12x8", lq_root=tmp_path / "x2")
    assert len(build(gt_root=tmp_path / "gt", lq_root=tmp_path / "x2", scale=2)) == 1
    write_images(tmp_path / "fewer" / "000", blur_downsample(gt[:4]))
    refused("clip 000: ground truth has 5 frames .*, LR 4", lq_root=tmp_path / "fewer")
    write_images(tmp_path / "shifted" / "000", blur_downsample(gt), [f"{i:08d}.png" for i in range(1, 6)])
    refused("clip 000: ground truth begins with frame 00000000 .*, LR with 00000001", lq_root=tmp_path / "shifted")
    (tmp_path / "gt" / "000" / "00000002.png").unlink()
    refused("clip 000 .*: frame 00000002 is missing between 00000001.png and 00000003.png", degradation="BI")


def test_clips_beyond_those_checked_at_the_start_are_checked_when_read(roots, tmp_path, monkeypatch):
    monkeypatch.setattr("vsr_plugin.data.clip_dataset._CHECKED_AT_START", 1)
    write_packed(tmp_path / "gt" / "a.npy", make_frames(2))
    write_packed(tmp_path / "gt" / "b.npy", make_frames(2, 16, 16))
    write_packed(tmp_path / "lr" / "a.npy", bicubic_downsample(make_frames(2)))
    write_packed(tmp_path / "lr" / "b.npy", make_frames(2, 8, 8))
    data = build(gt_root=tmp_path / "gt", lq_root=tmp_path / "lr")
    assert len(data[0]["img"]) == 2
    with pytest.raises(DataError, match="clip b: frame 00000000 of LR is 8x8"):
        data[1]
    data = build(gt_root=tmp_path / "gt", degradation="BI", gt_size=32)
    with pytest.raises(DataError, match=r"clip b .* are smaller than gt_size=32"):
        data[1]
