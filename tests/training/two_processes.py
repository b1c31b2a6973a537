"""Gradients of one step in one process or in several; run by test_distributed.py."""

import sys

import torch
from mmengine.model import MMDistributedDataParallel

from vsr_plugin.registry import MODELS

_CHARBONNIER = dict(type="CharbonnierLoss")
_TINY = dict(mid_channels=4, spynet_width=4)
MODELS_TO_TRAIN = {
    "IconVSR": dict(
        type="VideoRestorer",
        generator=dict(type="IconVSRNet", **_TINY, num_blocks=1, keyframe_stride=2, padding=1),
        pixel_loss=_CHARBONNIER,
    ),
    "RealBasicVSR": dict(
        type="CleaningRestorer",
        generator=dict(type="RealBasicVSRNet", **_TINY, num_propagation_blocks=1, num_cleaning_blocks=1),
        pixel_loss=_CHARBONNIER,
        cleaning_loss=_CHARBONNIER,
        gan_loss=dict(type="GANLoss", gan_type="vanilla", loss_weight=0.05),
        discriminator=dict(type="UNetDiscriminatorWithSpectralNorm", in_channels=3, mid_channels=4),
    ),
}


def gradients(name: str, rank: int, processes: int) -> dict[str, torch.Tensor]:
    """Gradients after the backward pass of a second step over this process's share of a batch of four."""
    torch.manual_seed(0)
    model = MODELS.build(MODELS_TO_TRAIN[name])
    # Of size one, where a fresh network's output is nearly bilinear.
    torch.nn.init.normal_(model.generator.conv_last.weight)
    share = slice(rank * 4 // processes, (rank + 1) * 4 // processes)
    lrs, gts = torch.rand(4, 3, 3, 8, 8)[share], torch.rand(4, 3, 3, 32, 32)[share]
    wrapped = MMDistributedDataParallel(model) if processes > 1 else model
    for _ in range(2):
        model.zero_grad()
        sum(wrapped(lrs, mode="loss", gts=gts).values()).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}


if __name__ == "__main__":
    torch.distributed.init_process_group("gloo")
    result = gradients(sys.argv[2], torch.distributed.get_rank(), torch.distributed.get_world_size())
    if torch.distributed.get_rank() == 0:
        torch.save(result, sys.argv[1])
    torch.distributed.destroy_process_group()
