"""Our models under names of their own: in MMagic's inferencer, and in ours of the same name."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from vsr_plugin.apis import NAMED_MODELS, MMagicInferencer, VSRInferencer
from vsr_plugin.apis.vsr_inferencer import is_ours, read_model
from vsr_plugin.errors import VSRError
from vsr_plugin.mmagic_host import import_quietly
from vsr_plugin.models import BasicVSRNet
from vsr_plugin.weights import PUBLISHED

mmagic = import_quietly("mmagic.apis").MMagicInferencer
pytestmark = pytest.mark.filterwarnings("ignore")


def test_every_name_has_config_and_weights() -> None:
    for name, settings in NAMED_MODELS.items():
        for setting in settings:
            generator = Config.fromfile(setting.config).model.generator
            assert (
                generator.type.lower() == f"{name.removeprefix('vsr_').replace('pp', 'plusplus').replace('_', '')}net"
            )
            assert setting.weights in PUBLISHED


def test_models_of_both_stages_of_realbasicvsr_are_ours(configs: Path) -> None:
    for name in ("basicvsr_reds", "real_basicvsr_wogan_reds", "real_basicvsr_reds"):
        assert is_ours(read_model(configs / f"{name}.py"))


def test_mmagic_lists_our_models_beside_its_own() -> None:
    listed = mmagic.get_task_supported_models("Video Super-Resolution")
    assert {"basicvsr", "iconvsr", "vsr_basicvsr", "vsr_iconvsr", "vsr_basicvsr_pp"} <= set(listed)
    assert len(listed) == len(set(listed)) == 9
    assert mmagic.get_inference_supported_models().count("vsr_iconvsr") == 1
    theirs = mmagic.inference_supported_models_cfg["iconvsr"]["settings"][0]
    assert theirs["Config"] == "configs/iconvsr/iconvsr_2xb4_reds4.py"


def test_unmodified_mmagic_finds_config_and_weights_by_our_name(
    official: str, folder: Path, restored: list[np.ndarray], images: Callable, tmp_path: Path
) -> None:
    inferencer = mmagic("vsr_basicvsr", device="cpu")
    assert os.path.samefile(inferencer.inferencer.inferencer.cfg.filename, NAMED_MODELS["vsr_basicvsr"][0].config)
    assert official == NAMED_MODELS["vsr_basicvsr"][0].weights
    inferencer.infer(video=str(folder), result_out_dir=str(tmp_path / "out"))
    assert all(np.array_equal(a, b) for a, b in zip(images(tmp_path / "out"), restored, strict=True))


def test_our_subclass_restores_our_models_by_our_inferencer(
    official: str, folder: Path, restored: list[np.ndarray], configs: Path
) -> None:
    by_name = MMagicInferencer("vsr_basicvsr", device="cpu")
    by_config = MMagicInferencer(
        model_name="basicvsr", model_config=str(configs / "basicvsr_reds.py"), model_ckpt=official, device="cpu"
    )
    for inferencer in (by_name, by_config):
        assert type(inferencer.inferencer) is VSRInferencer
        frames = inferencer.infer(video=str(folder))["infer_results"]
        assert np.array_equal(np.stack(frames), np.stack(restored))


def test_our_subclass_leaves_mmagics_models_to_mmagic(folder: Path, tmp_path: Path) -> None:
    config = dict(
        model=dict(
            type="BasicVSR",
            generator=dict(type="BasicVSRNet", mid_channels=8, num_blocks=1),
            pixel_loss=dict(type="CharbonnierLoss"),
            data_preprocessor=dict(type="DataPreprocessor"),
        ),
        demo_pipeline=[
            dict(type="GenerateSegmentIndices", interval_list=[1]),
            dict(type="LoadImageFromFile", key="img", channel_order="rgb"),
            dict(type="PackInputs"),
        ],
    )
    inferencer = MMagicInferencer("basicvsr", model_config=Config(config), model_ckpt="", device="cpu")
    net = inferencer.inferencer.inferencer.model.generator
    assert type(net).__module__.startswith("mmagic.")
    inferencer.infer(video=str(folder), result_out_dir=str(tmp_path / "out"))
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_the_signatures_are_mmagics() -> None:
    for method in ("__init__", "infer"):
        theirs = [
            name for name, p in inspect.signature(getattr(mmagic, method)).parameters.items() if p.kind != p.VAR_KEYWORD
        ]
        ours = list(inspect.signature(getattr(MMagicInferencer, method)).parameters)
        assert ours[: len(theirs)] == theirs


def test_settings_are_chosen_by_number_and_name(small_weights: Path) -> None:
    with pytest.raises(VSRError, match="vsr_basicvsr: no setting 3; there are 0 to 2"):
        MMagicInferencer("vsr_basicvsr", 3, device="cpu")
    with pytest.raises(VSRError, match="no setting 'x'; there are basicvsr_reds, basicvsr_vimeo90k_bi"):
        MMagicInferencer("vsr_basicvsr", config_name="x", device="cpu")
    with pytest.raises(VSRError, match="does not fit BasicVSRNet"):
        MMagicInferencer("vsr_basicvsr", 1, model_ckpt=str(small_weights), device="cpu")


def test_what_is_for_other_tasks_is_refused(official: str) -> None:
    inferencer = MMagicInferencer("vsr_basicvsr", device="cpu")
    assert type(inferencer.inferencer.net) is BasicVSRNet
    with pytest.raises(VSRError, match="`mask` is for other tasks"):
        inferencer.infer(video="a.mp4", mask="b.png")
