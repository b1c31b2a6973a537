import copy

import numpy as np
import pytest
import torch
from branch_steps import replace_steps
from PIL import Image
from reference_figures import REFERENCE, reference_frames

from vsr_plugin.acceleration import accelerate
from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation import frame_quality
from vsr_plugin.inference import restore_frames
from vsr_plugin.inference.planning import Plan
from vsr_plugin.inference.sequence import restore_sequence
from vsr_plugin.inference.windows import blend
from vsr_plugin.media import open_source
from vsr_plugin.models import BasicVSRNet
from vsr_plugin.ops.resize import bicubic_downsample, bicubic_upsample
from vsr_plugin.ops.windows import cut_windows, fade_frames
from vsr_plugin.restoration import RestoreOptions, restore_video
from vsr_plugin.weights import load_net


def random_clip(t: int, h: int = 9, w: int = 13) -> list[torch.Tensor]:
    return list(torch.rand(t, 3, h, w, generator=torch.Generator().manual_seed(t)))


@pytest.mark.parametrize("t", [1, 2, 7])
def test_a_clip_that_fits_is_restored_as_one_sequence(small_net, t):
    clip = random_clip(t)
    with torch.no_grad():
        whole = small_net(torch.stack(clip)[None])[0].clamp(0, 1)
    restored = torch.stack(list(restore_frames(small_net, iter(clip))))
    torch.testing.assert_close(restored, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("window", "overlap"), [(1, 0), (1, 3), (4, 0), (4, 2), (5, 1), (7, 3), (6, 8), (10, 4), (30, 2)]
)
@pytest.mark.parametrize("t", [1, 4, 8, 9, 13, 31])
def test_windows_restore_every_frame_once_with_its_context(small_net, t, window, overlap):
    clip = random_clip(t)
    restored = list(restore_frames(small_net, iter(clip), strategy="window", window=window, overlap=overlap))
    assert len(restored) == t
    parts, fade = list(cut_windows(clip, window, overlap)), fade_frames(window, overlap)
    # Joints are in the middle of what two windows keep.
    joints = [part.start + fade for part in parts[1:]]
    with torch.no_grad():
        outputs = [small_net(torch.stack(part.frames)[None])[0].clamp(0, 1) for part in parts]
    for i in range(t):
        k = sum(joint <= i for joint in joints)
        own = [
            out[i - part.start + part.keep.start] if i - part.start + part.keep.start in range(len(out)) else None
            for out, part in zip(outputs, parts, strict=True)
        ]
        expected = own[k]
        for before, joint in enumerate(joints):
            if joint - fade <= i < joint + fade:
                weight = (i - (joint - fade) + 0.5) / (2 * fade)
                expected = (1 - weight) * own[before] + weight * own[before + 1]
        torch.testing.assert_close(restored[i], expected, atol=2e-5, rtol=0)


def test_where_windows_are_cut():
    """One rule for videos, iterables and evaluations: windows of one length, and the last two of one."""

    def joints(n, window, overlap):
        return [part.start for part in cut_windows(range(n), window, overlap)]

    assert joints(200, 60, 15) == [0, 58, 118, 158]
    assert joints(90, 60, 15) == [0]
    assert joints(91, 60, 15) == [0, 44]
    assert joints(40, 12, 0) == [0, 12, 24, 32]
    assert joints(0, 12, 5) == []


@pytest.mark.parametrize(("n", "options"), [(200, dict(window=60, overlap=15)), (23, dict(window=6, overlap=4))])
def test_videos_and_iterables_are_cut_alike_and_come_out_alike(small_net, tmp_path, n, options):
    rng = np.random.default_rng(0)
    frames = list(rng.integers(0, 256, (n, 8, 12, 3), np.uint8))
    (tmp_path / "in").mkdir()
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "in" / f"{i:04d}.png")
    restore_video(tmp_path / "in", tmp_path / "out", small_net, RestoreOptions(strategy="window", **options))
    for known in (None, n):
        restored = restore_frames(small_net, iter(frames), strategy="window", num_frames=known, **options)
        written = sorted((tmp_path / "out").iterdir())
        for frame, path in zip(restored, written, strict=True):
            assert np.array_equal(frame, np.asarray(Image.open(path)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_blended_arrays_are_rounded_once(small_net, dtype):
    top = np.iinfo(dtype).max
    arrays = [np.ascontiguousarray((f.permute(1, 2, 0).numpy() * top).round().astype(dtype)) for f in random_clip(31)]
    tensors = [torch.from_numpy(f.astype(np.float32)).permute(2, 0, 1) / top for f in arrays]
    options = dict(strategy="window", window=10, overlap=4)
    for array, tensor in zip(
        restore_frames(small_net, arrays, **options), restore_frames(small_net, tensors, **options), strict=True
    ):
        assert np.abs(array - tensor.permute(1, 2, 0).numpy() * top).max() <= 0.5 + 2 * top / 65535


def test_a_step_between_two_windows_is_spread_over_the_frames_around_the_joint():
    window, overlap = 12, 6
    fade = fade_frames(window, overlap)
    assert fade == 2
    before, after = np.zeros((4, 4, 3), np.uint16), np.full((4, 4, 3), 65535, np.uint16)
    values = [int(blend(before, after, i, 2 * fade, np.empty(0, np.uint8))[0, 0, 0]) for i in range(2 * fade)]
    assert values == [32, 96, 159, 223]


def test_holds_no_more_than_a_window(small_net):
    read = 0

    def counting():
        nonlocal read
        for frame in random_clip(40):
            read += 1
            yield frame

    for given, _ in enumerate(restore_frames(small_net, counting(), strategy="window", window=4, overlap=2), start=1):
        assert read <= given + 4 + 2 * 2 + 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays_in_arrays_out(small_net, dtype):
    top = np.iinfo(dtype).max
    clip = [np.ascontiguousarray((f.permute(1, 2, 0).numpy() * top).round().astype(dtype)) for f in random_clip(3)]
    restored = list(restore_frames(small_net, clip))
    as_tensors = restore_frames(
        small_net, [torch.from_numpy(f.astype(np.float32)).permute(2, 0, 1) / top for f in clip]
    )
    for array, tensor in zip(restored, as_tensors, strict=True):
        assert array.dtype == dtype
        assert array.shape == (36, 52, 3)
        expected = tensor.permute(1, 2, 0).numpy() * top
        assert np.abs(array - expected).max() <= 0.51


def test_float64_tensors_keep_their_dtype(small_net):
    assert next(restore_frames(small_net, [torch.rand(3, 8, 8, dtype=torch.float64)])).dtype == torch.float64


def test_no_frames(small_net):
    assert list(restore_frames(small_net, [])) == []


def test_gradient_mode_of_the_caller_is_left_alone(small_net):
    for _ in restore_frames(small_net, random_clip(3)):
        assert torch.is_grad_enabled()


def test_progress_adds_up_to_the_frames(small_net):
    done = []
    list(restore_frames(small_net, random_clip(11), strategy="window", window=3, overlap=2, progress=done.append))
    assert sum(done) == 11


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        ([np.zeros((8, 8), np.uint8)], r"uint8 or uint16 RGB \(h, w, 3\), got uint8 \(8, 8\)"),
        ([np.zeros((8, 8, 3))], "got float64"),
        ([torch.zeros(3, 8, 8, dtype=torch.uint8)], "floating point"),
        ([torch.full((3, 8, 8), 255.0)], r"must be in \[0, 1\], got 255 to 255; divide them by 255"),
        ([torch.zeros(3, 0, 8)], r"must have pixels, got \(3, 0, 8\)"),
        ("clip.mp4", "must be arrays or tensors, got str"),
        ([None, np.zeros((8, 8, 3), np.uint8)], "must be arrays or tensors, got NoneType"),
        ([np.zeros((8, 8, 3), np.uint8), None], "must be arrays or tensors, got NoneType"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)], "one kind and size"),
        # What shrinking would bring to one size, and to the range.
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 7, 3), np.uint8)], "one kind and size"),
        ([torch.zeros(3, 8, 8), torch.full((3, 8, 8), 255.0)], r"must be in \[0, 1\], got 255"),
    ],
)
@pytest.mark.parametrize("options", [{}, dict(shrink=2), dict(scene_cuts=True), dict(strategy="window")], ids=str)
def test_unusable_frames(small_net, clip, message, options):
    with pytest.raises(ValueError, match=message):
        list(restore_frames(small_net, clip, **options))


def test_a_budget_in_words(small_net):
    clip = random_clip(3)
    (expected, found) = (list(restore_frames(small_net, clip, memory_budget=budget)) for budget in (2**33, "8G"))
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
    with pytest.raises(VSRError, match="memory budget 'plenty': is no size; use bytes, or a text such as '8G'"):
        next(restore_frames(small_net, clip, memory_budget="plenty"))
    assert RestoreOptions(memory_budget="500M").budget == 500 * 2**20
    with pytest.raises(VSRError, match="memory budget 0: is no size"):
        RestoreOptions(memory_budget=0)


@pytest.mark.parametrize("options", [dict(window=0), dict(overlap=-1)])
def test_unusable_windows(small_net, options):
    with pytest.raises(ValueError, match="`window` must be at least 1 and `overlap` at least 0"):
        next(restore_frames(small_net, random_clip(1), **options))


@pytest.mark.parametrize(
    "clip",
    [
        "carphone_pristine",
        pytest.param("bikes", marks=pytest.mark.slow),
        pytest.param("bigbuckbunny", marks=pytest.mark.slow),
    ],
)
def test_reference_figures(real_clip, clip):
    expected = REFERENCE[clip][2:]
    gt = reference_frames(real_clip(clip), clip)
    lrs = [bicubic_downsample(frame) for frame in gt]
    figures = [np.mean([frame_quality(bicubic_upsample(lr), hr)[0] for lr, hr in zip(lrs, gt, strict=True)])]
    for name in ("basicvsr_reds4", "basicvsr_vimeo90k_bi"):
        restored = restore_frames(load_net(name), lrs)
        figures.append(np.mean([frame_quality(frame, hr)[0] for frame, hr in zip(restored, gt, strict=True)]))
    assert figures == pytest.approx(expected, abs=0.01)


def test_frames_of_a_real_clip_in_their_own_words(real_clip, small_net):
    with open_source(real_clip("carphone_pristine")) as source:
        frames = [frame.rgb[:16, :20] for frame in source.frames(num_frames=2)]
    assert [frame.shape for frame in restore_frames(small_net, frames)] == [(64, 80, 3)] * 2


def test_reduced_precision_is_close_and_overflow_is_repeated_in_float32(small_net):
    clip = random_clip(5, 16, 16)
    whole = torch.stack(list(restore_frames(small_net, clip)))
    try:
        reduced = torch.stack(list(restore_frames(small_net, clip, precision="bf16")))
    except VSRError as error:
        pytest.skip(str(error))
    assert 1e-6 < (reduced - whole).abs().max() < 0.02


def test_numbers_that_overflow_are_noticed_and_repeated_in_float32(either_net, tmp_path, monkeypatch):
    """A stand-in for half precision: the reduced net gives infinity from its seventh forward step on."""
    clip = random_clip(10, 8, 8)
    reduced = copy.deepcopy(either_net)
    steps = []

    def overflowing(plain, *args):
        steps.append(1)
        state = plain(*args)
        return state * float("inf") if len(steps) >= 7 else state

    replace_steps(monkeypatch, reduced, "forward", overflowing)
    notes = []
    restored = restore_sequence(
        reduced, clip, Plan("whole", 10), folder=tmp_path, precise_net=lambda: either_net, on_note=notes.append
    )
    out = torch.stack([hr for _, hr in restored])
    with torch.no_grad():
        torch.testing.assert_close(out, either_net(torch.stack(clip)[None])[0], atol=1e-5, rtol=0)
    assert len(notes) == 1
    assert "at frame 6" in notes[0]


@pytest.mark.parametrize("options", [{}, dict(strategy="exact"), dict(window=3, overlap=1), dict(tile=28)], ids=str)
def test_numbers_that_are_not_finite_in_float32_are_an_error(small_net, options):
    net = copy.deepcopy(small_net)
    net.conv_last.weight.data.fill_(1e38)
    with pytest.raises(VSRError, match="frame 0 of the sequence: the network gives numbers that are not finite"):
        list(restore_frames(net, random_clip(5, 12, 40), **options))


@pytest.mark.parametrize("name", ["conv_last.weight", "spynet.basic_module.5.basic_module.0.conv.weight"])
def test_weights_that_are_not_finite_are_named(small_net, name):
    net = copy.deepcopy(small_net)
    net.get_parameter(name).data.view(-1)[0] = torch.nan
    with pytest.raises(VSRError, match=f"the weight {name} holds numbers that are not finite"):
        next(restore_frames(net, random_clip(2)))


def test_frames_before_one_that_is_not_finite_are_handed_out(small_net):
    clip = random_clip(6, 8, 8)
    clip[4][0, 2, 3] = torch.nan
    one_way = BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4, propagation="unidirectional", alignment="none")
    restored = restore_frames(one_way.eval(), clip)
    assert all(torch.isfinite(next(restored)).all() for _ in range(4))
    with pytest.raises(VSRError, match=r"frame 4 of the sequence: .* either the frames hold such numbers, or"):
        next(restored)


def test_flow_that_overflows_is_noticed(either_net, tmp_path):
    """Where warping makes numbers of it, as on some devices, neither states nor frames tell."""
    clip = random_clip(4, 8, 8)
    reduced = copy.deepcopy(either_net)
    plain = either_net.estimate_flows

    def overflowing(lrs):
        forward, backward = plain(lrs)
        forward[0, 1, 0, 2, 3] = torch.nan
        return forward, backward

    warp = reduced.alignment.warp
    reduced.alignment.warp = lambda x, flow: warp(x, flow.nan_to_num(0.0))
    reduced.estimate_flows = overflowing
    notes = []
    restored = restore_sequence(
        reduced, clip, Plan("whole", 4), folder=tmp_path, precise_net=lambda: either_net, on_note=notes.append
    )
    out = torch.stack([hr for _, hr in restored])
    with torch.no_grad():
        torch.testing.assert_close(out, either_net(torch.stack(clip)[None])[0], atol=1e-5, rtol=0)
    assert len(notes) == 1


@pytest.mark.parametrize("stop", [0, 5, 11])
def test_a_resumed_sequence_overflows_where_an_uninterrupted_one_does(small_net, tmp_path, stop):
    """Flow of the reduced net is NaN in the last segment, which warping hides from all states and frames."""
    clip = random_clip(12, 8, 8)
    reduced = copy.deepcopy(small_net)
    for parameter in reduced.parameters():
        parameter.data = parameter.data.bfloat16().float()
    plain, warp = reduced.estimate_flows, reduced.alignment.warp

    def overflowing(lrs):
        forward, backward = plain(lrs)
        if torch.equal(lrs[0, -1], clip[-1]):
            forward[0, -1, 0, 2, 3] = torch.nan
        return forward, backward

    reduced.estimate_flows = overflowing
    reduced.alignment.warp = lambda x, flow: warp(x, flow.nan_to_num(0.0))

    def restore(folder, first=0):
        folder.mkdir(exist_ok=True)
        plan = Plan("exact", 4)
        return restore_sequence(
            reduced, clip, plan, folder=folder, persistent=True, first_frame=first, precise_net=lambda: small_net
        )

    whole = dict(restore(tmp_path / "whole"))
    with torch.no_grad():
        precise = small_net(torch.stack(clip)[None])[0]
    for i, hr in whole.items():
        torch.testing.assert_close(hr, precise[i], rtol=0, atol=1e-5)
    restored = restore(tmp_path / "stopped")
    for i, _ in restored:
        if i == stop:
            break
    restored.close()
    first = stop // 4 * 4  # the frames of a segment that is not finished are restored again
    resumed = dict(restore(tmp_path / "stopped", first))
    assert list(resumed) == list(range(first, 12))
    for i, hr in resumed.items():
        assert torch.equal(hr, whole[i]), i


def test_an_unknown_precision(small_net):
    with pytest.raises(VSRError, match="precision 'int8' does not exist"):
        next(restore_frames(small_net, random_clip(1), precision="int8"))


@pytest.mark.parametrize(("prepare", "fault"), [(lambda net: net.spynet, "no sequences"), (accelerate, "accelerated")])
def test_networks_that_frames_are_not_restored_with(small_net, prepare, fault):
    with pytest.raises(VSRError, match=fault):
        next(restore_frames(prepare(small_net), random_clip(1)))


def test_a_network_is_accelerated_once_for_all_shots(small_net, monkeypatch):
    nets = []
    monkeypatch.setattr(
        "vsr_plugin.inference.restorer.accelerate_with_fallback",
        lambda net, precision: nets.append(precision) or (net, None),
    )
    clip = [torch.full((3, 16, 16), value) for value in (0.1, 0.9, 0.2) for _ in range(3)]
    plans = []
    assert len(list(restore_frames(small_net, clip, scene_cuts=True, on_plan=plans.append))) == 9
    assert len(plans) > 1
    assert nets == ["fp32"]


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_propagation_restarts_at_a_cut(kind: str) -> None:
    torch.manual_seed(0)
    net = BasicVSRNet(mid_channels=4, num_blocks=1, spynet_width=4).eval()
    rng = np.random.default_rng(0)
    shots = [np.repeat(rng.integers(low, low + 60, (1, 24, 32, 3)).astype(np.uint8), 9, 0) for low in (0, 190)]
    frames = [np.roll(frame, i, axis=1) for shot in shots for i, frame in enumerate(shot)]
    if kind == "tensor":
        frames = [torch.from_numpy(frame).permute(2, 0, 1).float() / 255 for frame in frames]
    alone = [hr for part in (frames[:9], frames[9:]) for hr in restore_frames(net, part)]
    cut, uncut = (list(restore_frames(net, frames, scene_cuts=on)) for on in (True, False))
    assert len(cut) == len(uncut) == 18
    assert all(np.array_equal(a, b) for a, b in zip(cut, alone, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(cut, uncut, strict=True))
