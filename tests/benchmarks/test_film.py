"""The whole of a restoration and its parts, on a film of few pixels."""

import json

import pytest
import torch

from vsr_plugin.benchmarks.film import FilmCost, FilmSetting, make_film, measure_film, table
from vsr_plugin.benchmarks.machine import as_json
from vsr_plugin.media import Encoding, open_source
from vsr_plugin.models import BasicVSRNet


def test_a_film_has_cuts_and_is_done_whole(real_clip, tmp_path):
    real_clip("bikes")  # which skips where the clips are not installed
    torch.manual_seed(0)
    net = BasicVSRNet(mid_channels=4, num_blocks=1, spynet_width=4).eval()
    setting = FilmSetting(24, "random", "fp32", Encoding(preset="ultrafast"))
    said = []
    cost = measure_film(net, setting, (32, 48), tmp_path, said.append)
    with open_source(tmp_path / "restored.mkv") as restored:
        assert (restored.height, restored.width, len(list(restored.frames()))) == (128, 192, 24)
    assert said == [f"48x32: {what}" for what in ("making the film", "whole", "decoding", "network", "encoding")]
    assert cost.shots >= 1
    assert min(cost.whole, cost.network, cost.decoding, cost.encoding) > 0
    assert cost.cpu_seconds["decoding"] <= cost.cpu_seconds["whole"]
    assert cost.output == (tmp_path / "restored.mkv").stat().st_size / 24
    assert json.loads(as_json([cost], {}, setting, ""))["results"][0]["median"] == cost.whole
    assert len(table([cost]).splitlines()) == 3


def test_clips_in_turn(real_clip, tmp_path):
    real_clip("bikes")
    make_film(tmp_path / "film.mp4", (16, 24), 101)
    with open_source(tmp_path / "film.mp4") as film:
        before, after = list(film.frames(99, 2))
    assert abs(before.rgb.astype(int) - after.rgb.astype(int)).mean() > 20


def test_what_is_longest_is_named():
    cost = FilmCost((360, 640), 3, 0.2, 0.15, 0.08, 0.1, {}, 0, 0)
    assert (cost.share, cost.limit) == (pytest.approx(0.75), "decoding")
