"""A study that trains, on made clips with a few steps; slow ones on real clips."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from vsr_plugin.benchmarks.inputs import psnr_per_frame
from vsr_plugin.errors import VSRError
from vsr_plugin.inference import restore_frames
from vsr_plugin.models import BasicVSRNet, IconVSRNet
from vsr_plugin.studies import STUDIES, StudyOptions, run_study
from vsr_plugin.studies.trained import TrainedStudy, Variant, count_trained
from vsr_plugin.studies.training import Training
from vsr_plugin.weights import load_net


@pytest.fixture
def clips(tmp_path):
    from PIL import Image

    for seed, name in enumerate(("learnt", "held")):
        (tmp_path / name).mkdir()
        wide = np.random.default_rng(seed).integers(0, 256, (26, 34, 3), np.uint8).repeat(4, 0).repeat(4, 1)
        for i in range(6):
            Image.fromarray(wide[:, i : i + 112]).save(tmp_path / name / f"{i:03d}.png")
    return StudyOptions(
        clips=(str(tmp_path / "held"),), train_clips=(str(tmp_path / "learnt"),), start=0, frames=3, steps=2, seeds=2
    )


class Two(TrainedStudy):
    """Two networks of configs/studies."""

    name, title = "two", "Two"
    variants = (Variant("one way", "unidirectional"), Variant("both ways", "bidirectional"))


@pytest.mark.slow
def test_a_study_trains_every_variant_with_every_seed(real_clip, clips, tmp_path):
    real_clip("bikes")
    outcome = run_study(Two(clips, tmp_path / "out" / "two"))
    rows = {row[0]: row for row in outcome.report.table.rows}
    assert list(rows) == ["bicubic", "one way", "both ways"]
    assert rows["one way"][2] == 2
    assert {row[2] for row in outcome.report.details.rows} == {0, 1, 2}
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 4
    # Another study with the same network takes the runs that are there.
    again = Training(tmp_path / "out", clips)
    assert again.run(again.settings("bidirectional", 1), lambda fraction: None)["seconds"] < 1


@pytest.mark.slow
def test_a_training_that_fails_names_its_log(clips, tmp_path):
    training = Training(tmp_path / "out", clips)
    settings = training.settings("bidirectional", 0, spynet_pretrained="nowhere.pth")
    with pytest.raises(VSRError, match=r"training failed with status 1: .*nowhere\.pth.* \(log: .*log.txt\)"):
        training.run(settings, lambda fraction: None)


def test_a_size_below_the_patches_is_refused_before_anything_is_made(clips, tmp_path):
    small = dataclasses.replace(clips, size=(128, 64))
    with pytest.raises(VSRError, match=r"^--size 128x64: .*; make it at least 96x96$"):
        STUDIES["propagation"](small, tmp_path / "out" / "propagation").parts()
    assert not (tmp_path / "out").exists()
    just = dataclasses.replace(clips, size=(96, 96))
    assert STUDIES["propagation"](just, tmp_path / "out" / "propagation").parts()


def test_settings_depend_on_all_that_matters(clips, tmp_path):
    training = Training(tmp_path, clips)
    first = training.settings("bidirectional", 0)
    assert json.loads(json.dumps(first)) == first
    assert first != training.settings("unidirectional", 0)
    assert first != Training(tmp_path, dataclasses.replace(clips, steps=3)).settings("bidirectional", 0)


def test_the_paper_size_is_that_of_the_recipe(clips, tmp_path):
    paper = Training(tmp_path, dataclasses.replace(clips, paper_size=True, steps=None)).settings("bidirectional", 0)
    assert paper["steps"] == 300_000
    assert paper["model"]["generator"]["num_blocks"] == 30
    assert "train" not in paper


@pytest.mark.parametrize("name", ["alignment", "propagation"])
def test_variants_have_comparable_complexity(name, clips, tmp_path):
    training = Training(tmp_path, clips)
    models = [training.settings(variant.leaf, 0)["model"] for variant in STUDIES[name].variants]
    *others, reference = map(count_trained, models)
    for count in others:
        assert count == pytest.approx(reference, rel=0.05)


@pytest.fixture
def from_basicvsr(clips, tmp_path):
    torch.manual_seed(0)
    torch.save(BasicVSRNet(mid_channels=4, num_blocks=1).state_dict(), tmp_path / "basicvsr.pth")
    return dataclasses.replace(clips, weights=str(tmp_path / "basicvsr.pth"))


def test_keyframes_of_a_basicvsr_are_trained_first(from_basicvsr, tmp_path):
    training, *measured = STUDIES["keyframes"](from_basicvsr, tmp_path / "out" / "keyframes").parts()
    generator = training.settings["model"]["generator"]
    assert generator["init_cfg"] == dict(type="WarmStart", checkpoint=from_basicvsr.weights)
    assert (generator["type"], generator["mid_channels"], generator["num_blocks"]) == ("IconVSRNet", 4, 1)
    assert training.settings["steps"] == 2
    assert [part.settings["keyframes"] for part in measured] == [0, 2, 3]
    # The weights that it starts from decide what comes out.
    torch.save(BasicVSRNet(mid_channels=4, num_blocks=1).state_dict(), from_basicvsr.weights)
    again, *_ = STUDIES["keyframes"](from_basicvsr, tmp_path / "out" / "keyframes").parts()
    assert again.settings != training.settings


@pytest.mark.slow
def test_without_keyframes_the_trained_network_is_the_basicvsr(from_basicvsr, tmp_path):
    # Sides of LR frames are multiples of 4, which is what IconVSR extends frames to, and BasicVSR does not.
    options = dataclasses.replace(from_basicvsr, steps=10, size=(96, 112))
    outcome = run_study(STUDIES["keyframes"](options, tmp_path / "out" / "keyframes"))
    start = load_net(options.weights)
    material = options.read(options.clips[0], 3, scale=4)
    expected = psnr_per_frame(restore_frames(start, material.lqs), material.gts).tolist()
    rows = outcome.report.table.rows
    assert rows[0][1] == 0
    assert rows[0][3] == pytest.approx(np.mean(expected), abs=1e-3)
    assert rows[-1][3] != rows[0][3]
    checkpoint = next(line for line in outcome.report.protocol if "checkpoint: " in line).split("checkpoint: ")[1]
    assert isinstance(load_net(checkpoint), IconVSRNet)


def test_parts_of_networks_have_no_keyframes(clips, tmp_path):
    torch.save(BasicVSRNet(mid_channels=4, num_blocks=1).spynet.state_dict(), tmp_path / "flow.pth")
    study = STUDIES["keyframes"](dataclasses.replace(clips, weights=str(tmp_path / "flow.pth")), tmp_path / "out")
    with pytest.raises(VSRError, match="weights of SPyNet; this study takes an IconVSR's or a BasicVSR's"):
        study.parts()


@pytest.mark.slow
def test_segments_of_a_real_clip_cost_most_beside_the_cuts(real_clip, tmp_path):
    real_clip("bikes")
    options = StudyOptions(clips=("bikes",), frames=16, size=(144, 256))
    outcome = run_study(STUDIES["segments"](options, tmp_path / "segments"))
    rows = {row[1]: row for row in outcome.report.table.rows}
    means = [rows[count][2] for count in (1, 2, 4, 8)]
    assert means == sorted(means, reverse=True)
    assert rows[2][4] < rows[2][5] - 0.1
