"""Figures besides PSNR and SSIM through the metric of the runner and its report."""

import functools
import importlib.util
import json
import sys
import types

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation import ClipQuality, extra_metrics, report_table


def as_tensor(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()


def evaluate(metric: ClipQuality, gt: np.ndarray, restored: np.ndarray) -> dict[str, float]:
    element = BaseDataElement(
        metainfo=dict(key="a"), output=BaseDataElement(pred_img=as_tensor(restored)), gt_img=as_tensor(gt)
    )
    evaluator = Evaluator([metric])
    evaluator.process([element], None)
    return evaluator.evaluate(1)


@pytest.fixture
def clip():
    return np.random.default_rng(0).integers(0, 256, (3, 24, 32, 3), np.uint8)


def test_equal_clips(clip, tmp_path):
    metric = ClipQuality("set", extra=["tof", "warping"], out_dir=str(tmp_path))
    figures = evaluate(metric, clip, clip)
    assert figures["set/tof"] == 0
    assert figures["set/warping"] == figures["set/warping_gt"]
    document = json.loads((tmp_path / "set.json").read_text())
    assert [frame["tof"] for frame in document["clips"][0]["frames"]] == [None, 0.0, 0.0]
    assert len(document["definitions"]) == 2
    lines = (tmp_path / "set.csv").read_text().splitlines()
    assert [line[0] for line in lines[:4]] == ["#", "#", "#", "c"]
    assert lines[4].endswith(",,,")


def test_the_table_has_a_column_and_a_definition(clip):
    metric = ClipQuality("set", extra=["tof"])
    evaluate(metric, clip, clip)
    table = report_table([metric.report]).splitlines()
    assert [cell.strip() for cell in table[0].split("|")][4:7] == ["PSNR", "SSIM", "tOF"]
    assert table[-1].startswith("tOF: mean length")


def test_a_clip_of_one_frame_has_no_motion(clip):
    assert "set/tof" not in evaluate(ClipQuality("set", extra=["tof"]), clip[:1], clip[:1])


def test_errors():
    with pytest.raises(VSRError, match=r"of set: vmaf: no such metric .* there are tof, warping, regions, lpips"):
        ClipQuality("set", extra=["vmaf"])
    with pytest.raises(VSRError, match="only the centre frames are scored"):
        ClipQuality("set", extra=["tof"], frames="centre")


@pytest.mark.skipif(importlib.util.find_spec("lpips") is not None, reason="lpips is installed")
def test_lpips_is_asked_for_where_it_is_absent():
    with pytest.raises(VSRError, match="pip install lpips"):
        ClipQuality("set", extra=["lpips"])


@pytest.fixture
def forget_network():
    """Neither a network of before nor one of this test is used again."""
    extra_metrics._network.cache_clear()
    yield
    extra_metrics._network.cache_clear()


class MeanDistance(torch.nn.Module):
    """Stands for LPIPS, and keeps what it was given."""

    def __init__(self, net: str, verbose: bool):
        super().__init__()
        self.net = net
        self.given: list[torch.Tensor] = []

    def forward(self, restored: torch.Tensor, gt: torch.Tensor) -> torch.Tensor:
        self.given += [restored, gt]
        return (restored - gt).abs().mean().view(1, 1, 1, 1)


@pytest.mark.usefixtures("forget_network")
def test_what_the_package_is_given_and_where_its_figure_stands(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=MeanDistance))
    metric = ClipQuality("set", extra=["lpips"])
    restored = clip.copy()
    restored[1] = 255 - clip[1]
    figures = evaluate(metric, clip, restored)
    given = extra_metrics._network().given
    assert extra_metrics._network().net == "alex"
    assert not extra_metrics._network().training
    assert all(frame.shape == (1, 3, 24, 32) for frame in given)
    # Frames are scored at the same time, so in no order.
    values = torch.from_numpy(clip).permute(0, 3, 1, 2)[:, None] / 127.5 - 1
    assert all(any(torch.allclose(frame, value) for frame in given) for value in values)
    expected = np.abs(2 * (clip[1] / 127.5 - 1)).mean()
    assert figures["set/lpips"] == pytest.approx(expected / 3, rel=1e-5)
    assert report_table([metric.report]).splitlines()[0].split("|")[6].strip() == "LPIPS"


@pytest.mark.usefixtures("forget_network")
def test_the_package_itself_with_random_features(clip, monkeypatch):
    # AlexNet's own weights come from the network; the package brings only the layers behind them.
    lpips = pytest.importorskip("lpips")
    torch.manual_seed(0)
    monkeypatch.setattr(lpips, "LPIPS", functools.partial(lpips.LPIPS, pnet_rand=True))
    frame = np.kron(clip[0], np.ones((3, 3, 1), np.uint8))
    assert extra_metrics.lpips_distance(frame, frame) == 0
    assert extra_metrics.lpips_distance(255 - frame, frame) > 0


@pytest.mark.usefixtures("forget_network")
def test_weights_that_cannot_be_had_are_one_line(monkeypatch):
    def fail(**options):
        raise OSError("no route to host")

    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=fail))
    with pytest.raises(VSRError, match=r"AlexNet's weights cannot be had .no route to host.; run it once with a net"):
        ClipQuality("set", extra=["lpips"])
