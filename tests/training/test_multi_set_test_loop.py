import json
from collections.abc import Callable

import numpy as np
import pytest
from mmengine.config import Config

from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation import Protocol, frame_quality
from vsr_plugin.training.launching import build_runner


def loader(length: int, t: int) -> dict:
    dataset = dict(type="MovingNoise", length=length, t=t)
    return dict(batch_size=1, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False), dataset=dataset)


def quality(name: str, **options: object) -> dict:
    return dict(type="ClipQuality", dataset=name, **options)


@pytest.fixture
def test_runner(experiment: Callable[..., Config]) -> Callable:
    def build(name: str, loaders: object, evaluators: object) -> object:
        changes = dict(test_dataloader=loaders, test_evaluator=evaluators, test_cfg=dict(type="MultiSetTestLoop"))
        return build_runner(experiment(**changes, experiment_name=name))

    return build


def test_every_set_has_figures_of_its_own(test_runner, tmp_path):
    evaluators = [quality("A", out_dir=str(tmp_path)), [quality("B", channel="Y", frames="centre")]]
    runner = test_runner("sets", [loader(2, 3), loader(1, 5)], evaluators)
    figures = runner.test()
    assert sorted(figures) == ["A/PSNR", "A/SSIM", "B/PSNR", "B/SSIM"]
    a, b = runner.test_loop.reports
    assert (a.dataset, len(a.clips), a.num_frames, b.num_frames) == ("A", 2, 6, 1)
    assert json.loads((tmp_path / "A.json").read_text())["mean"]["psnr"] == figures["A/PSNR"]


def test_figures_are_those_of_the_restored_frames(test_runner):
    runner = test_runner("figures", loader(1, 3), quality("A"))
    figures = runner.test()
    item = runner.test_loop.dataloader.dataset[0]
    restored = runner.model.test_step(dict(inputs=[item["inputs"]], data_samples=[item["data_samples"]]))[0]
    pairs = zip(restored.output.pred_img, restored.gt_img, strict=True)
    expected = np.mean(
        [frame_quality(*(x.permute(1, 2, 0).numpy() for x in pair), Protocol("RGB"))[0] for pair in pairs]
    )
    assert figures["A/PSNR"] == pytest.approx(expected)


def test_progress_goes_through_the_clips_and_leaves_no_trace(test_runner, capsys):
    runner = test_runner("progress", [loader(2, 3), loader(1, 5)], [quality("A"), quality("B")])
    before = runner.model.test_cfg
    runner.test()
    shown = capsys.readouterr().err
    assert "2.0/2 clips" in shown
    assert "1.0/1 clips" in shown
    assert runner.model.test_cfg is before


def test_sets_of_one_name(test_runner):
    with pytest.raises(VSRError, match="two test sets give a figure A/PSNR"):
        test_runner("twice", [loader(1, 1), loader(1, 1)], [quality("A"), quality("A")]).test()


def test_a_set_without_an_evaluator(test_runner):
    with pytest.raises(VSRError, match="each of the 2 sets in test_dataloader needs an entry in test_evaluator"):
        test_runner("missing", [loader(1, 1), loader(1, 1)], [quality("A")]).test()
