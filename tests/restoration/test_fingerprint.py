"""What a resumed job is compared by: everything but what cannot change the result."""

from __future__ import annotations

from dataclasses import fields, replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from vsr_plugin.media import open_source
from vsr_plugin.models import BasicVSRNet
from vsr_plugin.restoration import RestoreOptions, fingerprint

#: Settings that cannot change the frames, or only what is copied at joining.
WITHOUT_EFFECT = {"resume", "overwrite", "memory_budget", "audio"}
#: Settings that reach the result by way of the size of the output and of the network, which are compared.
BY_OTHER_WAYS = {"scale", "height", "forgetting"}
OTHERS = dict(
    start=1, num_frames=2, window=9, overlap=3, strategy="window", memory_budget=10**9, precision="bf16", tile=64,
    scene_cuts="on", deinterlace="off", resume=True, gt="gt", comparison="seen.png", overwrite=True, codec="ffv1",
    quality=20, preset="fast", pix_fmt="yuv444p", audio=False, frame_rate=Fraction(30), channel="RGB", crop_border=4,
)  # fmt: skip


def of(folder, options: RestoreOptions) -> dict[str, object]:
    with open_source(folder) as source:
        return fingerprint.of_job(source, BasicVSRNet(mid_channels=4, num_blocks=1), options, (64, 64), 0)


@pytest.fixture
def folder(tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((16, 16, 3), np.uint8))
    return tmp_path


def test_every_setting_counts_that_can_change_the_result(folder, monkeypatch) -> None:
    monkeypatch.setattr(fingerprint, "of_net", lambda net: "weights")
    plain = RestoreOptions()
    before = of(folder, plain)
    for part in (None, "encoding", "protocol"):
        values = plain if part is None else getattr(plain, part)
        for field in fields(values):
            if field.name in {"encoding", "protocol", *BY_OTHER_WAYS}:
                continue
            changed = replace(values, **{field.name: OTHERS[field.name]})
            options = changed if part is None else replace(plain, **{part: changed})
            assert (of(folder, options) == before) == (field.name in WITHOUT_EFFECT), field.name
