"""Propagation, alignment and refill in every combination, and what each choice means."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from vsr_plugin.errors import ComponentError
from vsr_plugin.inference import restore_frames
from vsr_plugin.inference.acceleration import accelerate
from vsr_plugin.inference.engine import restore_piece
from vsr_plugin.inference.fingerprint import of_net
from vsr_plugin.inference.tensor_cache import DiskCache
from vsr_plugin.inference.tiling import MIN_TILE, tile_net
from vsr_plugin.models import BasicVSRNet, IconVSRNet
from vsr_plugin.models.alignment import ALIGNMENTS, Alignment
from vsr_plugin.models.propagation import PROPAGATIONS, Local

VARIANTS = list(product((BasicVSRNet, IconVSRNet), PROPAGATIONS.names(), ("none", "image", "feature")))
IDS = ["-".join((net_class.__name__, *choices)) for net_class, *choices in VARIANTS]


def make(
    net_class: type = BasicVSRNet, propagation: str = "bidirectional", alignment: str = "feature", **more
) -> nn.Module:
    """A small network; local propagation in two segments, keyframes every third frame."""
    if propagation == "local":
        more.setdefault("segments", 2)
    if net_class is IconVSRNet:
        more.setdefault("keyframe_stride", 3)
    return net_class(mid_channels=8, num_blocks=1, propagation=propagation, alignment=alignment, **more)


@pytest.fixture(scope="module")
def nets(randomise: Callable[..., nn.Module]) -> dict[tuple, nn.Module]:
    """One network of every kind, with random weights."""
    return {variant: randomise(make(*variant)).eval() for variant in VARIANTS}


@pytest.fixture
def net(nets: dict[tuple, nn.Module], request: pytest.FixtureRequest) -> nn.Module:
    return nets[request.param]


all_variants = pytest.mark.parametrize("net", VARIANTS, ids=IDS, indirect=True)
#: What takes long with the extractor runs with three kinds of IconVSR, and with all of them in the slow tests.
_QUICK = {("local", "image"), ("unidirectional", "none"), ("bidirectional", "feature")}
most_variants = pytest.mark.parametrize(
    "net",
    [
        pytest.param(v, id=name, marks=() if v[0] is BasicVSRNet or v[1:] in _QUICK else pytest.mark.slow)
        for v, name in zip(VARIANTS, IDS, strict=True)
    ],
    indirect=True,
)


def sequence(t: int, h: int = 12, w: int = 16) -> Tensor:
    return torch.rand(1, t, 3, h, w, generator=torch.Generator().manual_seed(t))


def frames_that_change(net: nn.Module, changed: int, t: int = 6) -> set[int]:
    """Output frames that depend on an input frame."""
    lrs = sequence(t)
    other = lrs.clone()
    other[:, changed] = 1 - other[:, changed]
    difference = (net(lrs) - net(other)).abs().amax(dim=(0, 2, 3, 4))
    return set(difference.nonzero().flatten().tolist())


# Every combination, every way of running it.


@all_variants
@torch.no_grad()
def test_any_length_and_size(net: nn.Module) -> None:
    for t, h, w in ((1, 1, 1), (2, 7, 5), (3, 9, 14), (5, 12, 16)):
        hr = net(sequence(t, h, w))
        assert hr.shape == (1, t, 3, 4 * h, 4 * w)
        assert hr.isfinite().all()


@most_variants
def test_gradients_reach_every_parameter_and_checkpointing_keeps_them(net: nn.Module) -> None:
    net.requires_grad_()
    lrs = sequence(3, 36, 40)
    gradients = []
    for net.with_cp in (False, True):
        net.zero_grad()
        net(lrs).square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in net.named_parameters()})
    plain, checkpointed = gradients
    for name, gradient in plain.items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        assert gradient.abs().sum() > 0, name
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max()))
    net.with_cp = False
    net.zero_grad()


@most_variants
@torch.no_grad()
def test_every_driver_gives_the_same_frames(net: nn.Module, tmp_path) -> None:
    lrs = sequence(5, 30, 12)
    expected = net(lrs)[0]
    clipped = expected.clamp(0, 1)
    frames = list(lrs[0])
    for strategy in ("whole", "exact"):
        found = torch.stack(list(restore_frames(net, frames, strategy=strategy)))
        torch.testing.assert_close(found, clipped, rtol=0, atol=2e-5)
    for keep_states in (True, False):
        folder = tmp_path / str(keep_states)
        folder.mkdir()
        cache = DiskCache(folder)
        pieces = restore_piece(net, frames, segment=2, cache=cache, keep_states=keep_states)
        torch.testing.assert_close(torch.stack([hr for _, hr in pieces]), expected, rtol=0, atol=1e-5)
        cache.close()
    torch.testing.assert_close(tile_net(net, MIN_TILE)(lrs)[0], expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(accelerate(net)(lrs)[0], expected, rtol=0, atol=1e-4)


@all_variants
@torch.no_grad()
def test_autocast_stays_close(net: nn.Module) -> None:
    lrs = sequence(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net(lrs).float()
    expected = net(lrs)
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


@all_variants
@torch.no_grad()
def test_progress_counts_every_frame_twice(net: nn.Module) -> None:
    events: list[int] = []
    for _ in net.restore_iter(sequence(5), on_step=events.append):
        pass
    assert sorted(events) == sorted([*range(5), *range(5)])


# Propagation.


@pytest.mark.parametrize("alignment", ["none", "image", "feature"])
@torch.no_grad()
def test_unidirectional_does_not_see_the_future(alignment: str, nets: dict) -> None:
    net = nets[BasicVSRNet, "unidirectional", alignment]
    for i in range(6):
        assert frames_that_change(net, i) == set(range(i, 6))


@pytest.mark.parametrize("propagation", ["bidirectional", "coupled"])
@torch.no_grad()
def test_two_branches_see_all_frames(propagation: str, nets: dict) -> None:
    for i in (0, 3, 5):
        assert frames_that_change(nets[BasicVSRNet, propagation, "feature"], i) == set(range(6))


@pytest.mark.parametrize(
    ("net_class", "segments"), [(BasicVSRNet, 1), (BasicVSRNet, 2), (BasicVSRNet, 4), (BasicVSRNet, 9), (IconVSRNet, 2)]
)
@torch.no_grad()
def test_segments_know_nothing_of_each_other(net_class: type, segments: int, randomise: Callable) -> None:
    net = randomise(make(net_class, "local", segments=segments)).eval()
    runs = net.propagation.segments(6)
    assert [i for run in runs for i in run] == list(range(6))
    assert len(runs) == min(segments, 6)
    for run in runs:
        for i in run:
            assert frames_that_change(net, i) == set(run)


@pytest.mark.parametrize("net_class", [BasicVSRNet, IconVSRNet])
@torch.no_grad()
def test_segments_are_restored_as_sequences_of_their_own(net_class: type, nets: dict) -> None:
    local = nets[net_class, "local", "feature"]
    whole = make(net_class, "bidirectional").eval()
    whole.load_state_dict(local.state_dict())
    lrs = sequence(7)
    expected = torch.cat([whole(lrs[:, :3]), whole(lrs[:, 3:])], dim=1)
    torch.testing.assert_close(local(lrs), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_one_segment_is_bidirectional(nets: dict) -> None:
    net = make(propagation="local", segments=1).eval()
    reference = nets[BasicVSRNet, "bidirectional", "feature"]
    net.load_state_dict(reference.state_dict())
    lrs = sequence(5)
    assert torch.equal(net(lrs), reference(lrs))


@pytest.mark.parametrize("t", range(1, 12))
@pytest.mark.parametrize("number", range(1, 8))
def test_segments_are_equally_long(t: int, number: int) -> None:
    runs = Local(number).segments(t)
    lengths = {len(run) for run in runs}
    assert [i for run in runs for i in run] == list(range(t))
    assert min(lengths) >= 1
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("net_class", [BasicVSRNet, IconVSRNet])
@torch.no_grad()
def test_coupled_restores_from_the_forward_branch_which_sees_the_backward_one(net_class: type, nets: dict) -> None:
    net = nets[net_class, "coupled", "feature"]
    lr, state, one, other = torch.rand(1, 3, 8, 8), *torch.randn(3, 1, 8, 8, 8)
    flow = torch.zeros(1, 2, 8, 8)
    assert not torch.equal(net.forward_step(lr, flow, state, one), net.forward_step(lr, flow, state, other))
    assert torch.equal(net.reconstruct(lr, one, state), net.reconstruct(lr, other, state))
    apart = nets[net_class, "bidirectional", "feature"]
    assert torch.equal(apart.forward_step(lr, flow, state, one), apart.forward_step(lr, flow, state, other))
    assert not torch.equal(apart.reconstruct(lr, one, state), apart.reconstruct(lr, other, state))


# Alignment.


def without_motion(net: nn.Module) -> nn.Module:
    """Let the flow network find that nothing moves."""
    for level in net.spynet.basic_module:
        nn.init.zeros_(level.basic_module[-1].conv.weight)
        nn.init.zeros_(level.basic_module[-1].conv.bias)
    return net


@pytest.mark.parametrize("propagation", PROPAGATIONS.names())
@torch.no_grad()
def test_no_alignment_is_feature_alignment_without_motion(propagation: str, randomise: Callable) -> None:
    feature = without_motion(randomise(make(propagation=propagation)))
    none = make(propagation=propagation, alignment="none")
    none.load_state_dict({k: v for k, v in feature.state_dict().items() if not k.startswith("spynet.")})
    lrs = sequence(4)
    torch.testing.assert_close(none(lrs), feature(lrs), rtol=0, atol=2e-6)


@torch.no_grad()
def test_image_alignment_that_looks_at_no_neighbour_is_no_alignment(randomise: Callable) -> None:
    image, none = randomise(make(alignment="image")), make(alignment="none")
    for branch in (image.backward_resblocks, image.forward_resblocks):
        branch.main[0].weight[:, 3 + 8 :] = 0
    weights = {k: v for k, v in image.state_dict().items() if not k.startswith("spynet.")}
    for key in ("backward_resblocks.main.0.weight", "forward_resblocks.main.0.weight"):
        weights[key] = weights[key][:, : 3 + 8]
    none.load_state_dict(weights)
    lrs = sequence(4)
    torch.testing.assert_close(image(lrs), none(lrs), rtol=0, atol=2e-6)


@torch.no_grad()
def test_image_alignment_warps_the_neighbouring_frame_and_nothing_else(nets: dict) -> None:
    net = nets[BasicVSRNet, "bidirectional", "image"]
    feat, neighbour, lr = torch.rand(1, 8, 6, 9), torch.rand(1, 3, 6, 9), torch.rand(1, 3, 6, 9)
    state = net.alignment.carry(feat, neighbour)
    flow = torch.zeros(1, 2, 6, 9)
    still = net.align(state, flow, lr)
    torch.testing.assert_close(still, torch.cat((feat, neighbour), dim=1), rtol=0, atol=1e-6)
    flow[:, 0] = 2
    moved = net.align(state, flow, lr)
    assert torch.equal(moved[:, :8], feat)
    torch.testing.assert_close(moved[:, 8:, :, :-2], neighbour[..., 2:], rtol=0, atol=1e-6)
    assert torch.equal(net.features(state), feat)
    # The step hands the frame on with the features.
    assert torch.equal(net.backward_step(lr, flow, state)[:, 8:], lr)


@torch.no_grad()
def test_at_the_start_nothing_is_aligned(nets: dict) -> None:
    for (_, _, alignment), net in nets.items():
        start = net.align(None, None, torch.rand(2, 3, 4, 5))
        assert start.shape == (2, 11 if alignment == "image" else 8, 4, 5)
        assert not start.any()


def test_only_alignments_that_use_flow_have_a_flow_network(nets: dict) -> None:
    for (_, _, alignment), net in nets.items():
        assert any(key.startswith("spynet.") for key in net.state_dict()) == (alignment != "none")
        assert not any(key.startswith("alignment.") for key in net.state_dict())


# Refill.


@pytest.mark.parametrize("propagation", PROPAGATIONS.names())
@pytest.mark.parametrize("alignment", ["none", "image", "feature"])
@torch.no_grad()
def test_refill_without_keyframes_is_no_refill(propagation: str, alignment: str, nets: dict) -> None:
    plain = nets[BasicVSRNet, propagation, alignment]
    net = make(IconVSRNet, propagation, alignment, keyframe_stride=None)
    missing, unexpected = net.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert {key.split(".")[0] for key in missing} <= {"edvr", "backward_fusion", "forward_fusion"}
    lrs = sequence(5)
    torch.testing.assert_close(net(lrs), plain(lrs), rtol=0, atol=2e-6)
    net.keyframe_stride = 3
    assert (net(lrs) - plain(lrs)).abs().max() > 1e-4


def test_one_branch_is_refilled_by_one_convolution(nets: dict) -> None:
    net = nets[IconVSRNet, "unidirectional", "feature"]
    assert not any(key.startswith(("backward", "fusion.")) for key in net.state_dict())


def test_segments_have_keyframes_and_neighbourhoods_of_their_own(nets: dict) -> None:
    net = nets[IconVSRNet, "local", "feature"]
    windows = net.keyframe_windows(10)
    assert list(windows) == [0, 3, 4, 5, 8, 9]
    assert all({j // 5 for j in window} == {i // 5} for i, window in windows.items())


# Defaults, names, errors.


def test_the_defaults_are_the_published_networks() -> None:
    assert BasicVSRNet().components == make().components == "propagation: bidirectional, alignment: FeatureAlignment()"
    assert IconVSRNet().components == "propagation: coupled, alignment: FeatureAlignment()"
    for net_class, propagation, alignment in VARIANTS:
        published = {BasicVSRNet: "bidirectional", IconVSRNet: "coupled"}[net_class]
        net = make(net_class, propagation, alignment)
        assert net.is_published == (propagation == published and alignment == "feature")
    parts = {key.split(".")[0] for key in BasicVSRNet().state_dict()}
    tail = {"upsample1", "upsample2", "conv_hr", "conv_last"}
    assert parts == {"spynet", "backward_resblocks", "forward_resblocks", "fusion", *tail}
    parts = {key.split(".")[0] for key in IconVSRNet().state_dict()}
    branches = {"backward_resblocks", "forward_resblocks", "backward_fusion", "forward_fusion"}
    assert parts == {"spynet", "edvr", *branches, *tail}


def test_jobs_with_other_components_are_other_jobs(nets: dict) -> None:
    net, other = make(propagation="local", segments=2), make(propagation="local", segments=3)
    other.load_state_dict(net.state_dict())
    assert of_net(net) != of_net(other)


@torch.no_grad()
def test_windows_do_not_go_with_segments(nets: dict) -> None:
    net = nets[BasicVSRNet, "local", "feature"]
    with pytest.raises(Exception, match="strategy 'window' cannot restore with propagation local, 2 segments, which"):
        list(restore_frames(net, list(sequence(5)[0]), strategy="window", window=2, overlap=1))
    one_way = nets[BasicVSRNet, "unidirectional", "feature"]
    assert len(list(restore_frames(one_way, list(sequence(5)[0]), strategy="window", window=2, overlap=1))) == 5


@pytest.mark.parametrize("net_class", [BasicVSRNet, IconVSRNet])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            dict(propagation="forward"),
            "`propagation` 'forward' does not exist; choose one of bidirectional, coupled, lo",
        ),
        (dict(alignment="warp"), "`alignment` 'warp' does not exist; choose one of feature, image, none"),
        (dict(alignment=dict(radius=2)), "`alignment` None does not exist"),
        (dict(alignment=dict(type="image", radius=2)), "`alignment` 'image' cannot be made: .*'radius'"),
        (dict(propagation="local"), "`propagation` 'local' needs `segments`, the number that a sequence is cut into"),
        (dict(propagation="local", segments=0), "`segments` must be at least 1, got 0"),
        (
            dict(propagation="coupled", segments=3),
            "`segments` belongs to `propagation` 'local', not to 'coupled'; leave",
        ),
        (dict(segments=3), "`segments` belongs to `propagation` 'local', not to '(bidirectional|coupled)'"),
        (
            dict(alignment="none", spynet_pretrained="spynet"),
            "uses no optical flow; leave `spynet_pretrained` out, got",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(net_class: type, arguments: dict, message: str) -> None:
    with pytest.raises(ComponentError, match=message) as caught:
        net_class(mid_channels=8, num_blocks=1, **arguments)
    assert "\n" not in str(caught.value)


def test_there_are_no_keyframes_without_refill() -> None:
    with pytest.raises(TypeError, match="keyframe_stride"):
        BasicVSRNet(keyframe_stride=5)


# One's own.


class ScaledAlignment(Alignment):
    """Warped features times a learned factor for each channel."""

    def __init__(self, mid_channels: int, start: float = 1.0):
        super().__init__(mid_channels)
        self.factor = nn.Conv2d(mid_channels, mid_channels, 1, groups=mid_channels, bias=False)
        nn.init.constant_(self.factor.weight, start)

    def forward(self, state: Tensor, flow: Tensor | None, lr: Tensor) -> Tensor:
        return self.factor(self.warp(state, flow))


@pytest.fixture
def own_alignment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ALIGNMENTS, "_classes", dict(ALIGNMENTS._classes))
    ALIGNMENTS.register("scaled")(ScaledAlignment)


@pytest.mark.usefixtures("own_alignment")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@torch.no_grad()
def test_an_alignment_with_layers_of_its_own_is_accelerated_around(precision: str, randomise: Callable) -> None:
    net = randomise(make(alignment=dict(type="scaled", start=0.5))).eval()
    lrs = sequence(4)
    try:
        fast = accelerate(net, precision=precision)
    except Exception as error:
        pytest.skip(str(error))
    expected = net(lrs)
    assert (fast(lrs) - expected).abs().max() < (1e-4 if precision == "fp32" else 0.05 * expected.abs().max())
    assert "alignment.factor.weight" in net.state_dict()


@pytest.mark.usefixtures("own_alignment")
def test_a_name_is_taken_once() -> None:
    class Other(Alignment):
        pass

    with pytest.raises(ComponentError, match="alignment 'scaled' exists already; choose another name"):
        ALIGNMENTS.register("scaled")(Other)
    ALIGNMENTS.register("scaled")(ScaledAlignment)
