"""What fine-tuning has changed, of low rank: how it is made, added, and told from what it does not fit."""

import copy

import numpy as np
import pytest
import torch
from safetensors.torch import save

from vsr_plugin.data.degraded_clip import read_frames
from vsr_plugin.data.footage.codecs import encode_and_decode
from vsr_plugin.defaults import USUAL_STEP
from vsr_plugin.errors import WeightsError
from vsr_plugin.evaluation.quality import Protocol, frame_quality
from vsr_plugin.inference import restore_frames
from vsr_plugin.models import BasicVSRNet
from vsr_plugin.models.adaptation import SHIPPED_ADAPTATIONS, Adaptation, adapted_to_footage, shares_for
from vsr_plugin.models.cleaning import clean_by, with_cleaning
from vsr_plugin.ops.resize import bicubic_downsample, bicubic_upsample
from vsr_plugin.weights import load_net


@pytest.fixture(scope="module")
def before():
    return BasicVSRNet(mid_channels=8, num_blocks=2, spynet_width=4).eval()


@pytest.fixture(scope="module")
def after(before):
    """Changed but for its flow."""
    net = copy.deepcopy(before)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if not name.startswith("spynet"):
                parameter += 0.02 * torch.randn_like(parameter)
    return net


def weights(net):
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


def test_all_of_it_is_the_fine_tuned_network(before, after):
    adaptation = Adaptation.between(before, after, rank=1000)
    assert not any(name.startswith("spynet") for name in adaptation.tensors)
    change = (weights(after) - weights(before)).abs().max()
    torch.testing.assert_close(
        weights(adaptation.adapted(before, 1.0)), weights(after), rtol=0, atol=1e-3 * float(change)
    )
    middle = (weights(before) + weights(after)) / 2
    torch.testing.assert_close(weights(adaptation.adapted(before, 0.5)), middle, rtol=0, atol=1e-3 * float(change))
    assert torch.equal(weights(adaptation.adapted(before, 0.0)), weights(before))


def test_a_file_of_it_is_read_and_others_are_refused(before, after, tmp_path):
    adaptation, path = Adaptation.between(before, after, rank=2), tmp_path / "adaptation.safetensors"
    path.write_bytes(save(adaptation.tensors))
    loaded = Adaptation.load(str(path))
    assert torch.equal(weights(loaded.adapted(before, 1.0)), weights(adaptation.adapted(before, 1.0)))
    other = tmp_path / "net.safetensors"
    other.write_bytes(save(before.state_dict()))
    with pytest.raises(WeightsError, match=r"net.safetensors: holds no adaptation, such as training with"):
        Adaptation.load(str(other))


def test_a_rank_keeps_the_largest_singular_values(before, after):
    name = "backward_resblocks.main.2.1.conv1.weight"
    change = after.state_dict()[name] - before.state_dict()[name]
    values = torch.linalg.svdvals(change.flatten(1))
    for rank in (1, 3):
        adapted = Adaptation.between(before, after, rank).adapted(before, 1.0)
        left = (after.state_dict()[name] - adapted.state_dict()[name]).norm()
        torch.testing.assert_close(left, values[rank:].norm(), rtol=1e-3, atol=0)


def test_it_fits_the_weights_that_were_fine_tuned_and_no_others(before, after):
    adaptation = Adaptation.between(before, after, rank=2)
    assert adaptation.fits(before)
    assert adaptation.fits(with_cleaning(before, None))
    assert not adaptation.fits(after)
    assert not adaptation.fits(BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4))
    assert Adaptation(dict(adaptation.tensors)).fits(copy.deepcopy(before))


def test_what_ships_is_for_one_network_and_footage_that_is_compressed():
    net, other = load_net("basicvsr_vimeo90k_bi"), load_net("basicvsr_reds4")
    assert adapted_to_footage(other, 50.0) is other
    assert adapted_to_footage(net, 1.0) is net
    assert adapted_to_footage(net, 50.0, strength=0) is net
    whole, half = (adapted_to_footage(net, 50.0, strength) for strength in (1.0, 0.5))
    torch.testing.assert_close(weights(half), (weights(net) + weights(whole)) / 2)
    assert torch.equal(weights(clean_by(with_cleaning(net, None), 0.5, 50.0))[: len(weights(half))], weights(half))
    assert not torch.equal(weights(half), weights(net))


def test_shares_go_from_one_to_the_next_by_doublings():
    fine, coarse = SHIPPED_ADAPTATIONS
    at_fine, at_coarse = SHIPPED_ADAPTATIONS.values()
    assert shares_for(at_fine) == {fine: 1}
    for step in (at_coarse, 228.0):
        assert shares_for(step) == {coarse: 1}
    assert shares_for(0.1) == shares_for(1) == {}
    assert shares_for(at_fine**0.5) == {fine: pytest.approx(0.5)}
    between = shares_for((at_fine * at_coarse) ** 0.5)
    assert between == {fine: pytest.approx(0.5), coarse: pytest.approx(0.5)}
    assert shares_for(None) == shares_for(USUAL_STEP)


def test_between_two_steps_shares_of_both_are_added():
    net = load_net("basicvsr_vimeo90k_bi")
    fine, coarse = (weights(adapted_to_footage(net, step)) for step in SHIPPED_ADAPTATIONS.values())
    middle = adapted_to_footage(net, float(np.sqrt(np.prod(list(SHIPPED_ADAPTATIONS.values())))))
    torch.testing.assert_close(weights(middle), (fine + coarse) / 2, rtol=0, atol=1e-6)


def test_it_helps_where_footage_is_coarse():
    # Held out from training.
    gts = np.stack([f[:144, :176] for f in read_frames("carphone_pristine", start=20, num_frames=5)])
    coarse = encode_and_decode(np.stack([bicubic_downsample(gt, 4) for gt in gts]), "h264", quality=33)

    def psnr(frames):
        return np.mean([frame_quality(frame, gt, Protocol())[0] for frame, gt in zip(frames, gts, strict=True)])

    net = load_net("basicvsr_vimeo90k_bi")
    adapted = clean_by(net, 1.0, coarse.quantiser_step)
    cleaned = with_cleaning(net, adapted.cleaning)
    bicubic = psnr([bicubic_upsample(frame, 4) for frame in coarse.frames])
    gains = [psnr(list(restore_frames(way, list(coarse.frames)))) - bicubic for way in (net, cleaned, adapted)]
    assert gains[1] > gains[0] + 0.3
    assert gains[2] > gains[1] + 0.08
    assert gains[2] > 0.3
