"""Our inferencer: MMagic's call, this package's engine."""

from __future__ import annotations

import copy
import gc
import runpy
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from mmengine.config import Config

from vsr_plugin.apis import VSRInferencer
from vsr_plugin.errors import VSRError
from vsr_plugin.models import BasicVSRNet
from vsr_plugin.weights import load_net

ROOT = Path(__file__).parents[2]


def small(weights: Path, **parameters: object) -> VSRInferencer:
    return VSRInferencer(None, weights, "cpu", parameters, show_progress=False)


@pytest.fixture(scope="module")
def of_config(configs: Path, official: str) -> VSRInferencer:
    return VSRInferencer(configs / "basicvsr_reds.py", official, "cpu", show_progress=False)


def test_a_folder_gives_the_pixels_of_the_engine(
    of_config: VSRInferencer, folder: Path, restored: list[np.ndarray], images: Callable, tmp_path: Path
) -> None:
    result = of_config(video=str(folder), result_out_dir=str(tmp_path / "out"))
    assert all(np.array_equal(a, b) for a, b in zip(images(tmp_path / "out"), restored, strict=True))
    assert (result["num_frames"], result["result_out_dir"]) == (3, str(tmp_path / "out"))
    assert result["infer_results"] is None


def test_without_an_output_the_frames_are_returned(
    of_config: VSRInferencer, folder: Path, restored: list[np.ndarray]
) -> None:
    frames = of_config(video=folder)["infer_results"]
    assert len(frames) == 3
    assert np.array_equal(np.stack(frames), np.stack(restored))
    assert np.array_equal(frames[-1], restored[-1])
    assert len(frames[1:]) == 2
    parent = frames.folder.parent
    assert parent.is_dir()
    del frames
    gc.collect()
    assert not parent.exists()


def test_the_size_is_a_parameter(small_weights: Path, folder: Path) -> None:
    sizes = []
    for parameters in ({}, dict(scale=2), dict(height=30)):
        with small(small_weights)(video=folder, extra_parameters=parameters)["infer_results"] as frames:
            sizes.append(frames[0].shape[:2])
    (rows, columns), half, shown = sizes
    assert (half, shown) == ((rows // 2, columns // 2), (30, round(30 * columns / rows / 2) * 2))


def test_a_size_of_a_call_takes_the_place_of_the_instances(small_weights: Path, folder: Path) -> None:
    tripled = VSRInferencer(None, small_weights, "cpu", dict(scale=3), show_progress=False)
    with tripled(video=folder)["infer_results"] as frames:
        rows = frames[0].shape[0]
    with tripled(video=folder, extra_parameters=dict(height=30))["infer_results"] as frames:
        assert frames[0].shape[0] == 30
    with tripled(video=folder, extra_parameters=dict(precision="fp32"))["infer_results"] as frames:
        assert frames[0].shape[0] == rows


def test_an_image_is_a_sequence_of_one(of_config: VSRInferencer, folder: Path) -> None:
    result = of_config(img=folder / "00000000.png")
    with result["infer_results"] as frames:
        assert [frame.shape for frame in frames] == [(128, 160, 3)]


def test_frame_rate_and_audio_are_kept(media: ModuleType, video: Path, small_weights: Path, tmp_path: Path) -> None:
    result = small(small_weights)(video=video, result_out_dir=tmp_path / "out.mp4")
    assert result["num_frames"] == 3
    assert media.packets(tmp_path / "out.mp4") == media.packets(video)
    before, after = media.probe(video), media.probe(tmp_path / "out.mp4")
    assert after.rate == before.rate == Fraction(30000, 1001)
    assert after.size == (128, 160)


def test_the_video_is_that_of_the_tool(
    video: Path, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(small_weights)(video=video, result_out_dir=tmp_path / "ours.mp4")
    tool, options = ROOT / "tools" / "restore_video.py", ["--weights", small_weights, "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", [str(a) for a in (tool, video, tmp_path / "tool.mp4", *options)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(tool), run_name="__main__")
    assert end.value.code == 0
    assert (tmp_path / "tool.mp4").read_bytes() == (tmp_path / "ours.mp4").read_bytes()


def test_a_long_video_in_windows(
    media: ModuleType, small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = media.make_clip(tmp_path / "in.mp4", n=70, size=(16, 24))
    longest = []
    from vsr_plugin.restoration import worker

    run = worker.restore_sequence

    def watch(net, frames, *arguments, **options):
        longest.append(len(frames))
        return run(net, frames, *arguments, **options)

    monkeypatch.setattr(worker, "restore_sequence", watch)
    parameters = dict(strategy="window", window=20, overlap=2, scene_cuts="off")
    windowed = small(small_weights, **parameters)(video=clip)
    assert max(longest) == 24
    whole = small(small_weights, scene_cuts="off")(video=clip)
    assert windowed["num_frames"] == whole["num_frames"] == 70
    difference = np.abs(np.stack(windowed["infer_results"]).astype(int) - np.stack(whole["infer_results"]))
    assert difference.max() <= 3


def test_several_inputs_give_a_list(media: ModuleType, small_weights: Path, tmp_path: Path) -> None:
    clips = [media.make_clip(tmp_path / f"{name}.mp4", n=2, size=(16, 24)) for name in "ab"]
    restore = small(small_weights)
    results = restore(video=[str(clip) for clip in clips], result_out_dir=f"{tmp_path}/out/")
    assert [Path(result["result_out_dir"]).name for result in results] == ["a.mp4", "b.mp4"]
    assert [len(result["infer_results"]) for result in restore(video=clips)] == [2, 2]


def test_instances_share_nothing(
    folder: Path, small_weights: Path, configs: Path, official: str, of_config: VSRInferencer
) -> None:
    first, second = small(small_weights, num_frames=1), small(small_weights)
    assert first(video=folder)["num_frames"] == 1
    assert second(video=folder)["num_frames"] == 3
    # Of a call, for that call.
    assert second(video=folder, extra_parameters=dict(start=2))["num_frames"] == 1
    assert second(video=folder)["num_frames"] == 3
    other = VSRInferencer(configs / "basicvsr_reds.py", official, "cpu")
    assert other.net is not of_config.net


def test_a_config_is_only_read(configs: Path, official: str, folder: Path) -> None:
    cfg = Config.fromfile(configs / "basicvsr_reds.py")
    cfg.model.test_cfg = dict(num_frames=1)
    before = copy.deepcopy(cfg.to_dict())
    restore = VSRInferencer(cfg, official, "cpu", show_progress=False)
    assert restore(video=folder)["num_frames"] == 1
    assert cfg.to_dict() == before


def test_the_networks_are_those_of_config_and_weights(of_config: VSRInferencer, official: str) -> None:
    state = load_net(official).state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in of_config.net.state_dict().items())
    assert type(of_config.net) is BasicVSRNet


def test_parameters_of_mmagic_that_are_not_needed_are_noted(small_weights: Path, folder: Path) -> None:
    result = small(small_weights, max_seq_len=1, start_idx=0, filename_tmpl="{:08d}.png")(video=folder)
    assert result["num_frames"] == 3
    assert sum("is not needed" in note for note in result["notes"]) == 3


def test_a_call_may_choose_no_windows_where_the_instance_has_some(small_weights: Path, folder: Path) -> None:
    inferencer = small(small_weights, window=30, strategy="window")
    notes = inferencer(video=folder, extra_parameters=dict(strategy="exact"))["notes"]
    assert "window is not needed: it is for the strategy 'window'" in notes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({}, "give either `video`"),
        ({"video": "a.mp4", "img": "b.png"}, "give either `video`"),
        ({"video": "nothing.mp4"}, "nothing.mp4: no such file or folder; check the path"),
        ({"video": np.zeros((2, 8, 8, 3), np.uint8)}, "inputs are paths, got ndarray; .*restore_frames"),
        ({"video": "a.mp4", "extra_parameters": {"precison": "bf16"}}, "no parameter 'precison'; there are start,"),
        ({"video": "a.mp4", "extra_parameters": {"window_size": 5}}, "which is for sliding-window networks"),
        (
            {"video": "a.mp4", "extra_parameters": {"scale": 0}},
            "scale must be a number above 0, such as 2 or 1.5, got 0",
        ),
        ({"video": ["a.mp4", "b.mp4"], "result_out_dir": "c.mp4"}, "several inputs need a folder"),
    ],
)
def test_wrong_calls_are_told_in_a_line(
    small_weights: Path, call: dict, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VSRError, match=message) as caught:
        small(small_weights)(**call)
    assert "\n" not in str(caught.value)


def test_an_output_that_exists_stays(small_weights: Path, folder: Path, tmp_path: Path) -> None:
    restore = small(small_weights)
    restore(video=folder, result_out_dir=tmp_path / "out.mp4")
    before = (tmp_path / "out.mp4").read_bytes()
    with pytest.raises(VSRError, match=r"exists already; pass --overwrite \(in Python `overwrite`\)"):
        restore(video=folder, result_out_dir=tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_bytes() == before
    restore(video=folder, result_out_dir=tmp_path / "out.mp4", extra_parameters=dict(overwrite=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(), "no weights given"),
        (dict(ckpt="nothing.pth"), "nothing.pth: no such weights file"),
        (dict(ckpt="small", config="nothing.py"), "nothing.py: no such config"),
        (dict(ckpt="small", config={}), "has no `model`"),
        (dict(ckpt="small", config=dict(model=dict(generator=dict(type="Nonsense")))), "cannot be built: .*Nonsense"),
        (dict(ckpt="small", config=dict(model=dict(generator=dict(type="SPyNet")))), "SPyNet is no network of ours"),
        (dict(ckpt="small", device="abacus"), "device 'abacus' cannot be used here"),
        (dict(ckpt="small", extra_parameters=dict(speed=2)), "no parameter 'speed'"),
    ],
)
def test_what_an_instance_cannot_be_made_of(small_weights: Path, arguments: dict, message: str) -> None:
    if arguments.get("ckpt") == "small":
        arguments = {**arguments, "ckpt": small_weights}
    with pytest.raises(VSRError, match=message):
        VSRInferencer(**arguments)
