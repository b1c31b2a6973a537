"""RealBasicVSRNet against MMagic's on the same weights and real frames, and its keys."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn

from vsr_plugin.acceleration import accelerate
from vsr_plugin.benchmarks.implementations import mmagic_twin
from vsr_plugin.errors import ComponentError, VSRError
from vsr_plugin.inference import restore_frames
from vsr_plugin.models import BasicVSRNet, RealBasicVSRNet
from vsr_plugin.models.cleaning import ImageCleaning
from vsr_plugin.models.propagation import with_forgetting
from vsr_plugin.restoration.fingerprint import of_net

PRECISIONS = [(torch.float32, 2e-5), (torch.float64, 1e-10)]
SMALL = dict(mid_channels=8, num_propagation_blocks=2, num_cleaning_blocks=2)
#: Thresholds by the rounds of cleaning that they lead to.
THRESHOLDS = {1: 255, 3: 0}


def mmagic_net(**arguments) -> nn.Module:
    from mmagic.models.editors.real_basicvsr.real_basicvsr_net import RealBasicVSRNet as MMagicNet

    return MMagicNet(**arguments)


def small(**arguments) -> RealBasicVSRNet:
    return RealBasicVSRNet(**SMALL, spynet_width=4, **arguments)


@pytest.fixture(scope="module")
def pair(randomise: Callable, real_spynet: Callable) -> tuple[nn.Module, nn.Module]:
    """Our network and MMagic's with the same weights, none of them idle."""
    ours, theirs = real_spynet(randomise(RealBasicVSRNet(**SMALL))), mmagic_net(**SMALL)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize(("t", "h", "w"), [(1, 16, 20), (2, 9, 33), (5, 12, 14), (12, 8, 10)])
@torch.no_grad()
def test_random_weights_equal_mmagic(
    t: int, h: int, w: int, rounds: int, dtype: torch.dtype, tolerance: float, pair: tuple, lr_frames: Callable
) -> None:
    ours, theirs = (copy.deepcopy(net).to(dtype) for net in pair)
    ours.cleaning.threshold = theirs.dynamic_refine_thres = THRESHOLDS[rounds] / 255
    lrs = lr_frames(t, h, w).to(dtype)
    found, expected = ours(lrs, return_lqs=True), theirs(lrs.clone(), return_lqs=True)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance)
    assert torch.equal(ours(lrs), found[0])


@pytest.mark.parametrize("sequential", [False, True])
@torch.no_grad()
def test_it_stops_to_clean_when_mmagic_does(sequential: bool, pair: tuple, lr_frames: Callable) -> None:
    lrs = lr_frames(3, 12, 14)
    cleaning = copy.deepcopy(pair[0].cleaning)
    sizes, frames = [], lrs
    for _ in range(3):
        residue = cleaning.residue(frames[0][:, None])
        sizes.append(float(255 * residue.abs().mean()))
        frames = frames + residue
    for threshold in (factor * size for size in sizes for factor in (0.999, 1.001)):
        arguments = dict(SMALL, dynamic_refine_thres=threshold, is_sequential_cleaning=sequential)
        ours, theirs = RealBasicVSRNet(**arguments), mmagic_net(**arguments)
        for net in (ours, theirs):
            net.load_state_dict(pair[0].state_dict())
        found, expected = ours(lrs, return_lqs=True), theirs(lrs.clone(), return_lqs=True)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=2e-5)


@torch.no_grad()
def test_the_benchmarks_twin_is_mmagics_network(lr_frames: Callable) -> None:
    torch.manual_seed(0)
    ours = RealBasicVSRNet(**SMALL, dynamic_refine_thres=5).eval()
    twin = mmagic_twin(ours).eval()
    assert type(twin).__module__.startswith("mmagic.")
    assert twin.dynamic_refine_thres == pytest.approx(5 / 255)
    torch.testing.assert_close(ours(lr_frames(2, 12, 14)), twin(lr_frames(2, 12, 14)), rtol=0, atol=2e-5)
    with pytest.raises(VSRError, match="leave its implementation out"):
        mmagic_twin(small())


def test_the_published_size() -> None:
    for net in (RealBasicVSRNet(), mmagic_net()):
        assert sum(parameter.numel() for parameter in net.parameters()) == 6_294_834


def test_mmagics_keys_at_any_depth_and_in_mmengines_collection() -> None:
    from mmengine.runner.checkpoint import get_state_dict, load_state_dict

    def outer(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        inner = nn.ModuleDict({"generator": small(), "other": nn.Linear(1, 1)})
        return nn.ModuleDict({"basicvsr": inner, "cleaning": nn.Linear(1, 1)})

    source = outer(0)
    state = source.state_dict()
    assert "basicvsr.generator.image_cleaning.0.main.0.weight" in state
    assert "basicvsr.generator.basicvsr.spynet.basic_module.0.basic_module.0.conv.weight" in state
    assert {"cleaning.weight", "basicvsr.other.weight"} < set(state)
    assert list(get_state_dict(source)) == list(state)
    for load in (nn.Module.load_state_dict, lambda net, tensors: load_state_dict(net, tensors, strict=True)):
        target = outer(1)
        load(target, state)
        for key, tensor in target.state_dict().items():
            assert torch.equal(tensor, state[key]), key
    assert list(source.state_dict()) == list(state)


def test_a_basicvsr_with_this_cleaning_goes_in_as_it_is() -> None:
    cleaning = dict(type="image", mid_channels=8, num_blocks=2)
    source = BasicVSRNet(mid_channels=8, num_blocks=2, cleaning=cleaning, spynet_width=4)
    net = small()
    net.load_state_dict(source.state_dict(), strict=True)
    lrs = torch.rand(1, 2, 3, 8, 8)
    assert torch.equal(net(lrs), source(lrs))


@torch.no_grad()
def test_copies(randomise: Callable) -> None:
    net = randomise(small(dynamic_refine_thres=0)).eval()
    lrs = torch.rand(1, 3, 3, 12, 16)
    expected, state = net(lrs), net.state_dict()
    for other in (copy.deepcopy(net), copy.copy(net), pickle.loads(pickle.dumps(net)), with_forgetting(net, 0.0)):
        assert list(other.state_dict()) == list(state)
        assert torch.equal(other(lrs), expected)
        other.load_state_dict(state, strict=True)
    fast = accelerate(net)
    assert isinstance(fast, RealBasicVSRNet)
    torch.testing.assert_close(fast(lrs), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("strategy", ["whole", "exact"])
@torch.no_grad()
def test_streams_refine_as_whole_sequences_do(strategy: str, randomise: Callable) -> None:
    lrs = torch.rand(1, 5, 3, 14, 18)
    for thres in (255, 0):
        torch.manual_seed(0)
        net = randomise(small(dynamic_refine_thres=thres)).eval()
        restored = torch.stack(list(restore_frames(net, list(lrs[0]), strategy=strategy)))
        torch.testing.assert_close(restored, net(lrs)[0].clamp(0, 1), rtol=0, atol=1e-4)


def test_it_is_told_apart_from_a_basicvsr_and_by_how_it_cleans() -> None:
    net = small()
    assert net.has_published_components
    assert not BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4, cleaning="image").has_published_components
    assert net.components.endswith(", alignment: FeatureAlignment(), cleaning: ImageCleaning")
    found = {of_net(net)}
    for setting, value in (("threshold", 0.01), ("strength", 0.5), ("max_rounds", 2)):
        setattr(net.cleaning, setting, value)
        found.add(of_net(net))
    assert len(found) == 4


def test_what_is_trained() -> None:
    def trained(net: nn.Module) -> set[str]:
        return {name.partition(".")[0] for name, parameter in net.named_parameters() if parameter.requires_grad}

    assert "spynet" not in trained(small())
    assert {"cleaning", "forward_resblocks", "conv_last"} < trained(small())
    assert "cleaning" not in trained(small(is_fix_cleaning=True))


def test_checkpointed_gradients_are_the_same(randomise: Callable) -> None:
    lrs = torch.rand(1, 2, 3, 8, 8)
    gradients = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        net = randomise(small(with_cp=with_cp))
        restored, cleaned = net(lrs, return_lqs=True)
        (restored.square().mean() + cleaned.square().mean()).backward()
        gradients.append({name: p.grad for name, p in net.named_parameters() if p.grad is not None})
    plain, again = gradients
    assert any(name.startswith("cleaning.0.main.2") for name in plain)
    assert plain.keys() == again.keys()
    for name in plain:
        torch.testing.assert_close(plain[name], again[name])


def test_arguments_that_make_no_sense() -> None:
    with pytest.raises(ComponentError, match="`dynamic_refine_thres` -1 is no mean of absolute values"):
        small(dynamic_refine_thres=-1)
    with pytest.raises(ComponentError, match=r"`threshold` -0\.1 is no mean"):
        ImageCleaning(8, 1, threshold=-0.1)
    with pytest.raises(ComponentError, match="`max_rounds` 0: frames are cleaned once at least"):
        ImageCleaning(8, 1, max_rounds=0)
    with pytest.raises(ValueError, match="add a batch axis"):
        small()(torch.rand(2, 3, 8, 8), return_lqs=True)


def test_frames_given_are_left_as_they_are(randomise: Callable) -> None:
    # MMagic's writes into them if it cleans one after the other.
    lrs = torch.rand(1, 2, 3, 8, 8)
    before = lrs.clone()
    randomise(small(is_sequential_cleaning=True))(lrs)
    assert torch.equal(lrs, before)
