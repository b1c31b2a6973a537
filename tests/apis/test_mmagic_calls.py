"""MMagic's own inferencers, unmodified, with our configs and weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from vsr_plugin.errors import WeightsError
from vsr_plugin.inference import restore_frames
from vsr_plugin.mmagic_host import import_quietly
from vsr_plugin.models import BasicVSRNet, IconVSRNet
from vsr_plugin.weights import load_net

apis = import_quietly("mmagic.apis")
VideoRestorationInferencer = apis.inferencers.VideoRestorationInferencer
pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_folder_gives_the_pixels_of_the_engine(
    configs: Path, official: str, folder: Path, restored: list[np.ndarray], images: Callable, tmp_path: Path
) -> None:
    inferencer = apis.MMagicInferencer(
        model_name="basicvsr",
        model_config=str(configs / "basicvsr_reds.py"),
        model_ckpt=official,
        device="cpu",
    )
    inferencer.infer(video=str(folder), result_out_dir=str(tmp_path / "out"))
    written = images(tmp_path / "out")
    assert len(written) == len(restored)
    for ours, theirs in zip(restored, written, strict=True):
        assert np.array_equal(ours, theirs)


def test_a_video_is_read_and_written_by_mmagic(configs: Path, official: str, video: Path, tmp_path: Path) -> None:
    """MMagic decodes by OpenCV, keeps neither frame rate nor audio, and compresses: only the content is compared."""
    inferencer = VideoRestorationInferencer(str(configs / "basicvsr_reds.py"), official, "cpu", dict(max_seq_len=None))
    inferencer(video=str(video), result_out_dir=str(tmp_path / "out.mp4"))
    capture = cv2.VideoCapture(str(video))
    decoded = [np.ascontiguousarray(capture.read()[1][..., ::-1]) for _ in range(3)]
    expected = list(restore_frames(load_net(official), decoded))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].average_rate == 25
        written = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(written) == 3
    for ours, theirs in zip(expected, written, strict=True):
        assert ours.shape == theirs.shape == (128, 160, 3)
        assert np.abs(ours.astype(float) - theirs).mean() < 4


@pytest.mark.parametrize("name", ["basicvsr_reds", "iconvsr_reds", "iconvsr_vimeo90k_bd"])
def test_every_kind_of_config_under_mmagics_names(
    configs: Path, name: str, folder: Path, images: Callable, tmp_path: Path, lrs: list[np.ndarray]
) -> None:
    """The paper's sizes; random weights, since those of IconVSR cannot be had without a network."""
    torch.manual_seed(0)
    padding = dict(padding=3 if "vimeo" in name else 2)
    net = BasicVSRNet() if name.startswith("basic") else IconVSRNet(**padding)
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    inferencer = apis.MMagicInferencer(
        model_name=name.partition("_")[0],
        model_config=str(configs / f"{name}.py"),
        model_ckpt=str(tmp_path / "weights.pth"),
        device="cpu",
    )
    inferencer.infer(video=str(folder), result_out_dir=str(tmp_path / "out"))
    for ours, theirs in zip(restore_frames(net.eval(), lrs), images(tmp_path / "out"), strict=True):
        assert np.array_equal(ours, theirs)


def test_a_folder_of_one_image(configs: Path, official: str, lrs: list[np.ndarray], images: Callable, tmp_path: Path):
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "00000007.png"), lrs[0][..., ::-1])
    inferencer = VideoRestorationInferencer(
        str(configs / "basicvsr_reds.py"), official, "cpu", dict(start_idx=7, max_seq_len=None)
    )
    try:
        inferencer(video=str(tmp_path / "in"), result_out_dir=str(tmp_path / "out"))
    finally:
        # MMagic keeps these on the class, for all instances to come.
        VideoRestorationInferencer.extra_parameters.update(start_idx=0)
    (expected,) = restore_frames(load_net(official), lrs[:1])
    (written,) = images(tmp_path / "out")
    assert np.array_equal(expected, written)


def test_init_model(configs: Path, official: str, lrs: list[np.ndarray], restored: list[np.ndarray]) -> None:
    model = apis.init_model(str(configs / "basicvsr_reds.py"), official, device="cpu")
    assert type(model.generator) is BasicVSRNet
    assert not model.training
    inputs = torch.from_numpy(np.stack(lrs)).permute(0, 3, 1, 2)[None].float() / 255
    plain = model(inputs, mode="tensor")
    assert plain.requires_grad
    with torch.no_grad():
        whole = model(inputs, mode="tensor")
    assert torch.allclose(plain.detach().clamp(0, 1), whole, atol=1e-5)
    frames = whole[0].mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(frames, np.stack(restored))


def test_a_config_object_stays_as_it_is(configs: Path, official: str) -> None:
    cfg = Config.fromfile(configs / "basicvsr_reds.py")
    before = copy.deepcopy(cfg.to_dict())
    VideoRestorationInferencer(cfg, official, "cpu")
    assert cfg.to_dict() == before


def test_weights_of_another_network_are_refused(configs: Path, official: str) -> None:
    with pytest.raises(WeightsError, match="does not fit IconVSRNet"):
        VideoRestorationInferencer(str(configs / "iconvsr_reds.py"), official, "cpu")
