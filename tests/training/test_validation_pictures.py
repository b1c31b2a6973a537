from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config
from PIL import Image

from vsr_plugin.errors import VSRError
from vsr_plugin.training import ValidationPictures
from vsr_plugin.training.launching import build_runner


@pytest.fixture
def trained(experiment: Callable[..., Config], tmp_path: Path) -> Callable[..., list[str]]:
    """Train two steps with a validation after each, and return the names of the pictures."""

    def run(name: str, **hook: object) -> list[str]:
        cfg = experiment(
            experiment_name=name,
            custom_hooks=[dict(type="ValidationPictures", **hook)],
            val_dataloader=dict(
                batch_size=1,
                num_workers=0,
                sampler=dict(type="DefaultSampler", shuffle=False),
                dataset=dict(type="MovingNoise", length=3, t=2),
            ),
            val_evaluator=dict(type="ClipQuality", dataset="noise"),
            val_cfg=dict(type="ValLoop"),
            train_cfg=dict(type="StepTrainLoop", max_iters=2, val_interval=1),
        )
        build_runner(cfg).train()
        return sorted(path.name for path in (tmp_path / "run" / "pictures").iterdir())

    return run


def test_pictures_of_the_first_clips(trained, tmp_path):
    names = trained("two clips", clips=2, frame=99)
    assert names == [f"iter_00000{i}_clip{k}.png" for i in (1, 2) for k in (0, 1)]
    with Image.open(tmp_path / "run" / "pictures" / names[0]) as picture:
        assert picture.width == 1280
    assert len(list((tmp_path / "run").glob("*/vis_data/vis_image/*.png"))) == 4


def test_every_other_validation(trained):
    assert trained("sparse", interval=2) == ["iter_000001_clip0.png"]


def test_a_frame_that_is_no_number():
    with pytest.raises(VSRError, match="frame 'last': use 'middle' or a number"):
        ValidationPictures(frame="last")
