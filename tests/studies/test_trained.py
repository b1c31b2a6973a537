"""A study that trains, on made clips with a few steps; slow ones on real clips."""

import json

import numpy as np
import pytest

from vsr_plugin.errors import VSRError
from vsr_plugin.studies import STUDIES, StudyOptions, run_study
from vsr_plugin.studies import trained as trained_module
from vsr_plugin.studies.small_training import SmallTraining
from vsr_plugin.studies.trained import TrainedStudy, Variant


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


class Widths(TrainedStudy):
    """Two networks that need no official weights."""

    name, title = "widths", "Widths"
    variants = (
        Variant("narrow", dict(mid_channels=2, num_blocks=1, spynet_pretrained=None)),
        Variant("wide", dict(mid_channels=4, num_blocks=1, spynet_pretrained=None)),
    )


@pytest.mark.slow
def test_a_study_trains_every_variant_with_every_seed(clips, tmp_path):
    outcome = run_study(Widths(clips, tmp_path / "out" / "widths"))
    rows = {row[0]: row for row in outcome.report.table.rows}
    assert list(rows) == ["bicubic", "narrow", "wide"]
    assert rows["narrow"][2] == 2
    assert rows["wide"][1] > rows["narrow"][1]
    assert len({row[2] for row in outcome.report.details.rows}) == 3
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 4
    # Another study with the same networks takes the runs that are there.
    again = SmallTraining(tmp_path / "out", clips, 2)
    kept = again.run(again.settings(Widths.variants[0].model, 1), lambda fraction: None)
    assert kept["seconds"] < 1


@pytest.mark.slow
def test_a_training_that_fails_names_its_log(clips, tmp_path):
    training = SmallTraining(tmp_path / "out", clips, 2)
    with pytest.raises(VSRError, match=r"training failed with status 1: .*mid_channel.* \(log: .*log.txt\)"):
        training.run(training.settings(dict(generator=dict(mid_channel=2)), 0), lambda fraction: None)


def test_settings_depend_on_all_that_matters(clips, tmp_path):
    training = SmallTraining(tmp_path, clips, 2)
    first = training.settings(Widths.variants[0].model, 0)
    assert json.loads(json.dumps(first)) == first
    assert first != training.settings(Widths.variants[1].model, 0)
    assert first != SmallTraining(tmp_path, clips, 3).settings(Widths.variants[0].model, 0)


def test_the_same_network_is_trained_once_for_all_studies():
    models = [
        [v.model for v in STUDIES[name].variants if v.label in ("feature", "bidirectional", "BasicVSR")]
        for name in ("alignment", "propagation", "components")
    ]
    assert models[0] == models[1] == models[2]
    assert len(models[0]) == 1


@pytest.mark.parametrize("name", ["alignment", "propagation"])
def test_variants_have_comparable_complexity(name):
    *others, reference = (variant.count_parameters() for variant in STUDIES[name].variants)
    for count in others:
        assert count == pytest.approx(reference, rel=0.05)
    assert trained_module.SEPARATED == 2.0


@pytest.mark.slow
def test_segments_of_a_real_clip_cost_most_beside_the_cuts(real_clip, tmp_path):
    real_clip("bikes")
    options = StudyOptions(clips=("bikes",), frames=16, size=(144, 256))
    outcome = run_study(STUDIES["segments"](options, tmp_path / "segments"))
    rows = {row[1]: row for row in outcome.report.table.rows}
    means = [rows[count][2] for count in (1, 2, 4, 8)]
    assert means == sorted(means, reverse=True)
    assert rows[2][4] < rows[2][5] - 0.1
