"""Studies on made clips with small networks: numbers, resuming, files, errors."""

import csv
import json

import numpy as np
import pytest
import torch

from vsr_plugin.errors import VSRError
from vsr_plugin.models import BasicVSRNet, IconVSRNet
from vsr_plugin.studies import STUDIES, Part, Report, Study, StudyOptions, Table, keyframes, run_study
from vsr_plugin.studies.complexity import count_parameters
from vsr_plugin.studies.run import describe_run
from vsr_plugin.studies.segments import near_cuts, segment_bounds
from vsr_plugin.studies.trained import compare


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    from PIL import Image

    folder = tmp_path_factory.mktemp("clip")
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (8, 18, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    for i in range(8):
        Image.fromarray(wide[:, i : i + 48]).save(folder / f"{i:03d}.png")
    return str(folder)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for net in (
        BasicVSRNet(mid_channels=4, num_blocks=1, spynet_width=4),
        IconVSRNet(mid_channels=4, num_blocks=1, spynet_width=4),
    ):
        torch.save(net.state_dict(), folder / f"{type(net).__name__}.pth")
    return folder


def options(clip: str, path: object, **changes: object) -> StudyOptions:
    return StudyOptions(**dict(dict(clips=(clip,), start=0, frames=8, weights=str(path)), **changes))


def test_a_machine_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert "commit" not in describe_run("cpu")


class TestSegments:
    def test_bounds_cover_the_sequence(self):
        assert segment_bounds(32, 4) == [(0, 8), (8, 16), (16, 24), (24, 32)]
        assert [end - begin for begin, end in segment_bounds(10, 4)] == [2, 3, 2, 3]
        assert np.flatnonzero(near_cuts(8, 2)).tolist() == [3, 4]
        assert not near_cuts(8, 1).any()

    def test_each_segment_is_restored_alone(self, clip, weights, tmp_path):
        study = STUDIES["segments"](options(clip, weights / "BasicVSRNet.pth"), tmp_path / "segments")
        outcome = run_study(study)
        rows = outcome.report.table.rows
        assert [row[1] for row in rows] == [1, 2, 4, 8]
        psnr = {(row[1], row[2]): row[3] for row in outcome.report.details.rows}
        # K = 8 is each frame by itself, which is the network on one frame.
        alone = study.options.read(clip, 8, scale=4)
        from vsr_plugin.evaluation import frame_quality
        from vsr_plugin.inference import restore_frames

        net = study._net
        (hr,) = restore_frames(net, alone.lqs[5:6])
        assert psnr[8, 5] == pytest.approx(frame_quality(hr, alone.gts[5])[0], abs=1e-9)
        assert psnr[2, 0] != psnr[1, 0]

    def test_too_few_frames(self, clip, weights, tmp_path):
        study = STUDIES["segments"](options(clip, weights / "BasicVSRNet.pth", frames=1), tmp_path)
        with pytest.raises(VSRError, match="segments: 1 frames cannot be cut"):
            run_study(study)

    def test_a_clip_that_is_too_short(self, clip, weights, tmp_path):
        study = STUDIES["segments"](options(clip, weights / "BasicVSRNet.pth", frames=9), tmp_path)
        with pytest.raises(VSRError, match="9 frames from frame 0 on were asked for, there are 8"):
            run_study(study)


class TestKeyframes:
    def test_every_number_of_keyframes(self, clip, weights, tmp_path):
        study = STUDIES["keyframes"](options(clip, weights / "IconVSRNet.pth"), tmp_path / "keyframes")
        outcome = run_study(study)
        # Strides 30 and 10 leave the first and the last frame only.
        assert [row[1:3] for row in outcome.report.table.rows] == [[0, "none"], [2, 10], [3, 5], [4, 3], [5, 2], [8, 1]]
        psnr = [row[3] for row in outcome.report.table.rows]
        assert len(set(psnr)) == len(psnr)
        assert outcome.report.protocol[0].startswith("network: IconVSR (")


@pytest.mark.parametrize(
    ("psnr", "words"),
    [
        (
            (30.0, 30.1, 30.3),
            "clip: 8 keyframes are best, +0.300 dB to none at 2.00 times the time; 8 keyframes",
        ),
        (
            (30.0, 30.1, 29.7),
            "clip: 2 keyframes are best, +0.100 dB to none at 1.25 times the time, 8 have -0.300",
        ),
        ((30.0, 29.9, 29.7), "clip: no keyframes are best, 8 have -0.300 dB; 8 keyframes take 2.00 times"),
        ((30.0, 30.0, 30.0), "clip: the PSNR does not depend on the keyframes, whose features this network does not"),
    ],
)
def test_what_keyframes_have_shown(psnr, words):
    points = list(zip((0, 2, 8), psnr, (1.0, 1.25, 2.0), strict=True))
    assert keyframes._finding("clip", points).startswith(words)


def test_parameters_of_the_components():
    net = IconVSRNet()
    counts = count_parameters(net)
    assert sum(counts.values()) == sum(p.numel() for p in net.parameters())
    assert set(counts) == {"flow", "refill", "propagation", "upsampling"}
    assert counts["flow"] == pytest.approx(1.44e6, rel=0.01)


class TestCompare:
    def test_seen(self):
        assert compare("a", "b", [25.0, 25.1, 25.2], [26.0, 26.1, 26.2]).endswith("the order of the paper is seen")

    def test_reversed(self):
        assert compare("a", "b", [26.0, 26.1], [25.0, 25.1]).endswith("the order of the paper is reversed")

    def test_not_separated(self):
        # 0.1 dB apart with standard errors of 0.1 and 0.1.
        text = compare("a", "b", [25.0, 25.2], [25.1, 25.3])
        assert text == "b is 0.100 dB above a (p = 0.55): not separated"

    def test_one_seed(self):
        assert "one seed says nothing about the spread" in compare("a", "b", [25.0], [26.0])


class Counted(Study):
    """Three parts that count how often they are measured, the second of which may fail."""

    name, title = "counted", "Counted"

    def __init__(self, folder, fails=False):
        super().__init__(StudyOptions(), folder)
        self.measured, self.fails = [], fails

    def parts(self):
        return [Part(f"part {i}", dict(number=i)) for i in range(3)]

    def measure(self, part, progress):
        if self.fails and part.settings["number"] == 1:
            raise KeyboardInterrupt
        self.measured.append(part.settings["number"])
        progress(0.5)
        return dict(square=part.settings["number"] ** 2)

    def report(self, results):
        rows = [[part.settings["number"], result["square"]] for part, result in results]
        table = Table(["number", "square"], rows, {"square": ".1f"})
        return Report(table, table, ["by hand"], ["squares grow"], lambda figure: figure.subplots().plot([0, 1, 4]))


class TestRun:
    def test_an_interrupted_study_goes_on_where_it_was(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            run_study(Counted(tmp_path, fails=True))
        assert not (tmp_path / "counted.md").exists()
        study = Counted(tmp_path)
        outcome = run_study(study)
        assert study.measured == [1, 2]
        assert outcome.kept == 1
        assert [list(row) for row in outcome.report.table.rows] == [[0, 0], [1, 1], [2, 4]]

    def test_fresh_measures_everything(self, tmp_path):
        run_study(Counted(tmp_path))
        study = Counted(tmp_path)
        run_study(study, fresh=True)
        assert study.measured == [0, 1, 2]

    def test_a_damaged_record_is_measured_again(self, tmp_path):
        run_study(Counted(tmp_path))
        for path in (tmp_path / "parts").iterdir():
            path.write_text(path.read_text()[:20])
        study = Counted(tmp_path)
        run_study(study)
        assert study.measured == [0, 1, 2]

    def test_progress_comes_to_the_number_of_parts(self, tmp_path):
        begun, told = [], []
        run_study(Counted(tmp_path), on_begin=begun.append, progress=told.append)
        assert begun == [3]
        assert sum(told) == 3

    def test_files(self, tmp_path):
        outcome = run_study(Counted(tmp_path))
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "counted.csv", "counted.json", "counted.md", "counted.png", "parts",
        ]  # fmt: skip
        text = (tmp_path / "counted.md").read_text()
        assert "| 2 | 4.0 |" in text
        assert "- by hand" in text
        document = json.loads((tmp_path / "counted.json").read_text())
        assert document["table"]["rows"] == [[0, 0], [1, 1], [2, 4]]
        assert document["machine"]["PyTorch"] == torch.__version__
        lines = (tmp_path / "counted.csv").read_text().splitlines()
        assert lines[0] == "# by hand"
        assert list(csv.reader(lines[1:]))[-1] == ["2", "4"]
        assert outcome.paths[-1].read_bytes().startswith(b"\x89PNG")
