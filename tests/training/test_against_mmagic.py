"""The same training as MMagic's own model: same weights, same batches, same optimiser, frozen for as long."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmagic.structures import DataSample
from mmengine.optim import build_optim_wrapper

from vsr_plugin.mmagic_host import import_quietly
from vsr_plugin.ops.resize import bicubic_downsample
from vsr_plugin.registry import MODELS
from vsr_plugin.training import FreezeModules, PartsConstructor

NET = dict(mid_channels=8, num_blocks=2)
LOSS = dict(type="CharbonnierLoss", loss_weight=1.0, reduction="mean")
ADAM = dict(type="Adam", lr=2e-4, betas=(0.9, 0.99))
STEPS, FROZEN = 6, 3


@pytest.fixture
def batches(crops: Callable[..., Iterator[np.ndarray]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return LR and GT in [0, 1] for every step, crops of a real clip."""
    pairs = ((bicubic_downsample(gts), gts) for gts in crops(np.random.default_rng(0), STEPS))
    return [tuple(torch.from_numpy(x).permute(0, 1, 4, 2, 3).float() / 255 for x in pair) for pair in pairs]


# Adam divides by the size of a gradient, so in float32 differences in the last bit grow with the steps.
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_losses_equal_mmagics_step_by_step(
    batches: list[tuple[torch.Tensor, torch.Tensor]], dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    ours = MODELS.build(dict(type="VideoRestorer", generator=dict(type="BasicVSRNet", **NET), pixel_loss=LOSS))
    theirs = import_quietly("mmagic.models.editors.basicvsr.basicvsr").BasicVSR(
        generator=dict(type="mmagic.BasicVSRNet", **NET), pixel_loss=LOSS, train_cfg=dict(fix_iter=FROZEN)
    )
    theirs.generator.load_state_dict(ours.generator.state_dict())
    ours, theirs = ours.to(dtype), theirs.to(dtype)
    our_wrapper = PartsConstructor(
        dict(type="GuardedOptimWrapper", optimizer=ADAM), dict(lr_mults={"generator.spynet": 0.125})
    )(ours)
    their_wrapper = build_optim_wrapper(
        theirs,
        dict(type="OptimWrapper", optimizer=ADAM, paramwise_cfg=dict(custom_keys={"spynet": dict(lr_mult=0.125)})),
    )
    freezing = FreezeModules(["generator.spynet"], FROZEN)
    freezing.before_train(SimpleNamespace(model=ours, optim_wrapper=our_wrapper))
    flow_weight = ours.generator.spynet.basic_module[5].basic_module[4].conv.bias
    start = flow_weight.clone()

    losses = []
    for step, (lrs, gts) in enumerate(batches):
        assert torch.equal(flow_weight, start) == (step <= FROZEN)
        lrs, gts = lrs.to(dtype), gts.to(dtype)
        pair = ours(lrs, mode="loss", gts=gts)["loss"], theirs(lrs, DataSample(gt_img=gts), mode="loss")["loss"]
        our_wrapper.update_params(pair[0])
        their_wrapper.update_params(pair[1])
        losses.append([loss.item() for loss in pair])
    our_losses, their_losses = zip(*losses, strict=True)
    assert our_losses == pytest.approx(their_losses, rel=tolerance)
    assert our_losses[-1] < our_losses[0]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("is_low_res_input", "steps", "frozen", "dtype", "tolerance"),
    [
        (True, 2, 5000, torch.float32, 1e-5),
        pytest.param(True, 20, 5000, torch.float32, 1e-5, marks=pytest.mark.slow),
        pytest.param(False, 20, 5000, torch.float32, 1e-5, marks=pytest.mark.slow),
        # With the flow network trained; see above for float32.
        pytest.param(True, 6, 3, torch.float64, 1e-9, marks=pytest.mark.slow),
    ],
)
def test_losses_of_basicvsr_pp_equal_mmagics(
    is_low_res_input: bool, steps: int, frozen: int, dtype: torch.dtype, tolerance: float
) -> None:
    """A mirrored sequence, as of Vimeo-90K; MMagic's net wants frames whose features have 64 pixels a side."""
    torch.manual_seed(0)
    sizes = dict(mid_channels=8, num_blocks=1, is_low_res_input=is_low_res_input)
    ours = MODELS.build(
        dict(type="VideoRestorer", generator=dict(type="BasicVSRPlusPlusNet", **sizes), pixel_loss=LOSS)
    )
    theirs = import_quietly("mmagic.models.editors.basicvsr.basicvsr").BasicVSR(
        generator=dict(type="mmagic.BasicVSRPlusPlusNet", **sizes), pixel_loss=LOSS, train_cfg=dict(fix_iter=frozen)
    )
    theirs.generator.load_state_dict(ours.generator.state_dict())
    ours, theirs = ours.to(dtype), theirs.to(dtype)
    adam = dict(type="Adam", lr=1e-4, betas=(0.9, 0.99))
    our_wrapper = PartsConstructor(
        dict(type="GuardedOptimWrapper", optimizer=adam), dict(lr_mults={"generator.spynet": 0.25})
    )(ours)
    their_wrapper = build_optim_wrapper(
        theirs,
        dict(type="OptimWrapper", optimizer=adam, paramwise_cfg=dict(custom_keys={"spynet": dict(lr_mult=0.25)})),
    )
    FreezeModules(["generator.spynet"], frozen).before_train(SimpleNamespace(model=ours, optim_wrapper=our_wrapper))
    side, factor = (64, 4) if is_low_res_input else (256, 1)
    lrs = torch.rand(2, 3, side // 8, side // 8)
    lrs = torch.nn.functional.interpolate(lrs, size=(side, side), mode="bicubic").clamp(0, 1)[None]
    lrs = torch.cat((lrs, lrs.flip(1)), dim=1)
    gts = torch.nn.functional.interpolate(lrs[0], scale_factor=factor, mode="bicubic").clamp(0, 1)[None]
    lrs, gts = lrs.to(dtype), gts.to(dtype)
    losses = []
    for _ in range(steps):
        pair = ours(lrs, mode="loss", gts=gts)["loss"], theirs(lrs, DataSample(gt_img=gts), mode="loss")["loss"]
        our_wrapper.update_params(pair[0])
        their_wrapper.update_params(pair[1])
        losses.append([loss.item() for loss in pair])
    our_losses, their_losses = zip(*losses, strict=True)
    assert our_losses == pytest.approx(their_losses, rel=tolerance)
    assert our_losses[-1] < our_losses[0]
