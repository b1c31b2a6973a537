"""Every combination of components through every driver; defaults, errors, and parts of one's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from variants import all_variants, make, most_variants, sequence

from vsr_plugin.acceleration import accelerate
from vsr_plugin.errors import ComponentError
from vsr_plugin.inference import restore_frames
from vsr_plugin.inference.engine import restore_piece
from vsr_plugin.inference.storage import DiskCache
from vsr_plugin.inference.tiling import MIN_TILE, tile_net
from vsr_plugin.models import BasicVSRNet, IconVSRNet
from vsr_plugin.models.alignment import ALIGNMENTS, Alignment
from vsr_plugin.restoration.fingerprint import of_net


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
    # 33 pixels, so that all levels of SPyNet see more than one.
    lrs = sequence(3, 33, 12)
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
    lrs = sequence(4, 29, 8)
    expected = net(lrs)[0]
    clipped = expected.clamp(0, 1)
    frames = list(lrs[0])
    for strategy in ("whole", "exact"):
        found = torch.stack(list(restore_frames(net, frames, strategy=strategy)))
        # These are accelerated; kernels promise 1e-4, and of random weights some reach 2.1e-5.
        torch.testing.assert_close(found, clipped, rtol=0, atol=5e-5)
    for keep_states in (True, False):
        folder = tmp_path / str(keep_states)
        folder.mkdir()
        cache = DiskCache(folder)
        pieces = restore_piece(net, frames, block=2, cache=cache, keep_states=keep_states)
        torch.testing.assert_close(torch.stack([hr for _, hr in pieces]), expected, rtol=0, atol=1e-5)
        cache.close()
    torch.testing.assert_close(tile_net(net, MIN_TILE)(lrs)[0], expected, rtol=0, atol=2e-5)
    torch.testing.assert_close(accelerate(net)(lrs)[0], expected, rtol=0, atol=1e-4)


@all_variants
@torch.no_grad()
def test_autocast_stays_close(net: nn.Module) -> None:
    lrs = sequence(3, 6, 8)
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


def test_the_defaults_are_the_published_networks(nets: dict) -> None:
    assert BasicVSRNet().components == make().components == "propagation: bidirectional, alignment: FeatureAlignment()"
    assert IconVSRNet().components == "propagation: coupled, alignment: FeatureAlignment()"
    assert BasicVSRNet().is_published
    assert IconVSRNet().is_published
    for (net_class, propagation, alignment), net in nets.items():
        published = {BasicVSRNet: "bidirectional", IconVSRNet: "coupled"}[net_class]
        assert net.has_published_components == (propagation == published and alignment == "feature")
        assert not net.is_published  # by the width of its flow network
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
            "`propagation` 'forward' does not exist; choose one of bidirectional, coupled, grid, local, second_order, ",
        ),
        (dict(alignment="warp"), "`alignment` 'warp' does not exist; choose one of deformable, feature, image, none"),
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
