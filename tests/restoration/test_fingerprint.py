"""What a resumed job is compared by: everything but what cannot change the result."""

from __future__ import annotations

from dataclasses import fields, replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from vsr_plugin.media import Encoding, open_segmented, open_source
from vsr_plugin.models import BasicVSRNet
from vsr_plugin.restoration import RestoreOptions, fingerprint

#: Settings that cannot change the frames, or only what is copied at joining.
WITHOUT_EFFECT = {"resume", "overwrite", "memory_budget", "audio"}
#: Settings that reach the result by way of something else that is compared.
BY_OTHER_WAYS = {"scale": "output size", "height": "output size", "forgetting": "forgetting"}
OTHERS = dict(
    start=1, num_frames=2, window=9, overlap=3, strategy="exact", memory_budget=10**9, precision="bf16", tile=64,
    scene_cuts="on", deinterlace="off", resume=True, gt="gt", comparison="seen.png", overwrite=True, codec="ffv1",
    quality=20, preset="fast", pix_fmt="yuv444p", audio=False, frame_rate=Fraction(30), channel="RGB", crop_border=4,
    clean=0.5, shrink=2.0, strength=0.5, ensemble=2,
)  # fmt: skip


def of(folder, options: RestoreOptions, output: str = "out.mp4") -> dict[str, object]:
    with open_source(folder) as source:
        opened = open_segmented(folder.parent / output, source, folder, size=(64, 64), encoding=options.encoding)
        return fingerprint.of_job(source, BasicVSRNet(mid_channels=4, num_blocks=1, spynet_width=4), options, opened, 0)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), np.zeros((16, 16, 3), np.uint8))
    return folder


def test_every_setting_counts_that_can_change_the_result(folder, monkeypatch) -> None:
    monkeypatch.setattr(fingerprint, "of_net", lambda net: "weights")
    plain = RestoreOptions(strategy="window")
    before = of(folder, plain)
    for part in (None, "encoding"):
        values = plain if part is None else getattr(plain, part)
        for field in fields(values):
            if field.name == "encoding":
                continue
            if field.name in BY_OTHER_WAYS:
                assert field.metadata["setting"].compared_as == BY_OTHER_WAYS[field.name] in before
                continue
            changed = replace(values, **{field.name: OTHERS[field.name]})
            options = changed if part is None else replace(plain, **{part: changed})
            assert (of(folder, options) == before) == (field.name in WITHOUT_EFFECT), field.name


def test_what_cannot_change_this_result_does_not_count(folder, media, monkeypatch) -> None:
    monkeypatch.setattr(fingerprint, "of_net", lambda net: "weights")
    plain, other = RestoreOptions(), RestoreOptions(encoding=Encoding("ffv1", frame_rate=Fraction(30)))
    assert of(folder, plain, "images") == of(folder, other, "images")
    usual = RestoreOptions(encoding=Encoding(frame_rate=Fraction(25)))
    assert of(folder, plain) == of(folder, usual)
    clip = media.make_clip(folder.parent / "in.mp4", n=2)
    assert of(clip, plain) == of(clip, RestoreOptions(encoding=Encoding(frame_rate=Fraction(30))))
    assert of(clip, plain) != of(clip, other)


def test_the_rate_of_a_stream_without_a_container_counts(media, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(fingerprint, "of_net", lambda net: "weights")
    clip = media.make_clip(tmp_path / "in.h264", n=2, format="h264")
    plain, other = RestoreOptions(), RestoreOptions(encoding=Encoding(frame_rate=Fraction(30)))
    assert of(clip, plain) != of(clip, other)
