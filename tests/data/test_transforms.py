"""Our transforms, through the registry that finds MMagic's by their plain names."""

import numpy as np
import pytest
import torch
from clip_folders import make_frames

from vsr_plugin.data.degradations import blur_downsample
from vsr_plugin.ops.resize import bicubic_downsample
from vsr_plugin.registry import TRANSFORMS


@pytest.mark.parametrize(("kind", "downsample"), [("BI", bicubic_downsample), ("BD", blur_downsample)])
def test_degrade(kind, downsample):
    gt = make_frames(2, 16, 22)
    degrade = TRANSFORMS.build(dict(type="Degrade", kind=kind))
    results = degrade(dict(gt=list(gt), key="c"))
    assert np.array_equal(results["img"], downsample(gt))
    assert np.array_equal(results["gt"], gt)
    assert np.array_equal(degrade(dict(gt=gt[0]))["img"], downsample(gt[0]))
    assert repr(degrade) == f"Degrade(kind='{kind}', scale=4)"


def test_degrade_refuses_an_unknown_kind():
    with pytest.raises(ValueError, match="`kind` must be one of BI, BD, got 'bicubic'"):
        TRANSFORMS.build(dict(type="Degrade", kind="bicubic"))


def test_pack_inputs_packs_as_mmagic_does():
    gt = make_frames(3, 16, 24)
    results = dict(
        img=list(bicubic_downsample(gt)), gt=[frame.transpose(1, 0, 2) for frame in gt], key="c", frames=[4, 5, 6]
    )
    ours = TRANSFORMS.build(dict(type="PackInputs"))(dict(results))
    theirs = TRANSFORMS.build(dict(type="mmagic.PackInputs", meta_keys=["key", "frames"]))(dict(results))
    assert torch.equal(ours["inputs"], theirs["inputs"])
    assert torch.equal(ours["data_samples"].gt_img, theirs["data_samples"].gt_img)
    assert ours["data_samples"].metainfo == theirs["data_samples"].metainfo == dict(key="c", frames=[4, 5, 6])
    one = dict(img=results["img"][:1])
    assert TRANSFORMS.build(dict(type="PackInputs"))(one)["inputs"].shape == (1, 3, 4, 6)


def test_sharpen_truth_is_mmagics_unsharp_masking_in_whole_numbers():
    gt = list(make_frames(2, 48, 64))
    sharpen = TRANSFORMS.build(dict(type="SharpenTruth", keep_plain=True))
    results = sharpen(dict(gt=list(gt)))
    mask = dict(type="UnsharpMasking", keys=["gt"], kernel_size=51, sigma=0, weight=0.5, threshold=10)
    expected = TRANSFORMS.build(mask)(dict(gt=list(gt)))["gt_unsharp"]
    for found, sharpened, plain, before in zip(results["gt"], expected, results["gt_plain"], gt, strict=True):
        assert found.dtype == np.uint8
        assert np.abs(found - sharpened).max() < 0.502
        assert np.array_equal(plain, before)
        assert not np.array_equal(found, before)
    assert "gt_plain" not in TRANSFORMS.build(dict(type="SharpenTruth"))(dict(gt=list(gt)))
    assert repr(sharpen) == "SharpenTruth(keep_plain=True, kernel_size=51, weight=0.5, threshold=10)"
    with pytest.raises(ValueError, match="`kernel_size` must be odd, got 50"):
        TRANSFORMS.build(dict(type="SharpenTruth", kernel_size=50))


def test_pack_inputs_packs_what_was_not_sharpened_too():
    gt = list(make_frames(3, 16, 24))
    results = TRANSFORMS.build(dict(type="SharpenTruth", keep_plain=True))(dict(gt=gt, img=gt))
    sample = TRANSFORMS.build(dict(type="PackInputs"))(results)["data_samples"]
    assert torch.equal(sample.gt_plain, torch.from_numpy(np.stack(gt)).permute(0, 3, 1, 2))
    assert sample.gt_img.shape == sample.gt_plain.shape


def test_recolour_changes_colours_of_a_clip_alike_and_nothing_else():
    gt = list(make_frames(3, 16, 24))
    settings = dict(probability=1.0, contrast=(0.5, 0.5), brightness=0.0, gamma=1.0, grey=0.0)
    recolour = TRANSFORMS.build(dict(type="Recolour", **settings))
    np.random.seed(1)
    changed = recolour(dict(gt=list(gt), key="c"))["gt"]
    assert [frame.shape for frame in changed] == [frame.shape for frame in gt]
    # Half the contrast about the clip's mean of each channel, whichever it has become.
    channels = np.random.RandomState(1)
    channels.random_sample()
    order = channels.permutation(3)
    assert sorted(order) != list(order)
    clip = np.stack(gt)[..., order].astype(float)
    mean = clip.mean(axis=(0, 1, 2))
    np.testing.assert_allclose(np.stack(changed), mean + (clip - mean) / 2, atol=0.51)
    never = TRANSFORMS.build(dict(type="Recolour", probability=0.0))
    np.testing.assert_array_equal(never(dict(gt=list(gt)))["gt"], gt)
    assert "gamma=1.8" in repr(never)
    grey = TRANSFORMS.build(dict(type="Recolour", probability=1.0, grey=1.0, gamma=1.0))(dict(gt=list(gt)))["gt"]
    np.testing.assert_array_equal(np.ptp(grey, axis=-1), 0)
    assert np.std(grey) > 5
