"""Precision ``auto`` in jobs: what was chosen stands in the job, and stays."""

import json

import cv2
import numpy as np
import pytest
import torch

from vsr_plugin.acceleration import Trial
from vsr_plugin.errors import VSRError
from vsr_plugin.inference import restore_frames
from vsr_plugin.models import BasicVSRNet
from vsr_plugin.restoration import RestoreOptions, executors, restore_video
from vsr_plugin.restoration.preview import preview

#: So that a job of four frames can be stopped half-way.
WINDOWS = dict(strategy="window", window=1, overlap=1)


class StopError(Exception):
    pass


@pytest.fixture(autouse=True)
def every_processor_has_int16(monkeypatch):
    """The network is too small for kernels, so nothing is multiplied like that."""
    monkeypatch.setattr("vsr_plugin.acceleration.precision.integer_obstacle", lambda: None)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return BasicVSRNet(mid_channels=4, num_blocks=1, spynet_width=4).eval()


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (4, 16, 24, 3), np.uint8)
    for i, picture in enumerate(noise):
        cv2.imwrite(str(folder / f"{i}.png"), picture)
    return folder


@pytest.fixture
def fastest_is(monkeypatch):
    """Call it to say what a trial finds; without an argument there must be none."""

    def say(precision=None):
        def find(net):
            assert precision is not None, "nothing is to be tried"
            return Trial(precision, {precision: 0.5}, {precision: 80.0})

        monkeypatch.setattr(executors, "fastest_precision", find)

    return say


def restored(folder):
    return [path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix == ".png"]


def stop_half_way(frames, output, net):
    """Begin a job with ``auto`` that ends when two of its frames are restored."""
    done = []

    def stop(count):
        done.append(count)
        if sum(done) >= 2:
            raise StopError

    with pytest.raises(StopError):
        restore_video(frames, output, net, RestoreOptions(precision="auto", **WINDOWS), progress=stop)


def test_the_frames_are_those_of_the_precision_that_was_chosen(net, frames, tmp_path, fastest_is):
    fastest_is("int16")
    line = "precision int16: the fastest here within 0.01 dB of fp32 (a frame of the trial: int16 0.5 s)"
    for name in ("auto", "int16"):
        result = restore_video(frames, tmp_path / name, net, RestoreOptions(precision=name))
        assert (line in result.notes) == (name == "auto")
    assert restored(tmp_path / "auto") == restored(tmp_path / "int16")
    assert len(restored(tmp_path / "auto")) == 4


@pytest.mark.parametrize("precision", ["auto", "int16"])
def test_a_resumed_job_goes_on_with_what_was_chosen(net, frames, tmp_path, fastest_is, precision):
    fastest_is("int16")
    stop_half_way(frames, tmp_path / "out", net)
    assert json.loads((tmp_path / ".out.job" / "job.json").read_text())["precision"] == "int16"
    fastest_is()
    options = RestoreOptions(precision=precision, resume=True, **WINDOWS)
    assert restore_video(frames, tmp_path / "out", net, options).num_frames == 4


def test_another_precision_does_not_go_on(net, frames, tmp_path, fastest_is):
    fastest_is("int16")
    stop_half_way(frames, tmp_path / "out", net)
    with pytest.raises(VSRError, match="precision was int16 and is fp32"):
        restore_video(frames, tmp_path / "out", net, RestoreOptions(precision="fp32", resume=True, **WINDOWS))


def test_where_there_is_nothing_to_resume_it_is_tried(net, frames, tmp_path, fastest_is):
    fastest_is("fp32")
    result = restore_video(frames, tmp_path / "out", net, RestoreOptions(precision="auto", resume=True))
    assert any(note.startswith("precision fp32: the fastest here") for note in result.notes)


def test_frames_and_previews(net, frames, tmp_path, monkeypatch):
    trial = Trial("int16", {"int16": 0.5}, {"int16": 80.0})
    monkeypatch.setattr("vsr_plugin.acceleration.fastest.fastest_precision", lambda net: trial)
    monkeypatch.setattr(executors, "fastest_precision", lambda net: trial)
    pictures = list(torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(0)))
    auto, named = (list(restore_frames(net, pictures, precision=name)) for name in ("auto", "int16"))
    assert len(auto) == 3
    assert all(torch.equal(a, b) for a, b in zip(auto, named, strict=True))
    seen = preview(frames, tmp_path / "out", net, RestoreOptions(precision="auto"))
    assert seen.restored.shape == (64, 96, 3)
    assert str(trial) in seen.lines


def test_not_on_several_machines(net):
    pytest.importorskip("ray")
    from vsr_plugin.restoration.cluster import OnCluster

    with pytest.raises(VSRError, match="'auto' is for one machine only; choose one of fp32, int16, bf16, fp16"):
        OnCluster.fastest_precision(None, net)
