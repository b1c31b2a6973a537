"""Gradients of one step in one process or in several; run by test_distributed.py."""

import sys

import torch
from mmengine.model import MMDistributedDataParallel

from vsr_plugin.registry import MODELS


def gradients(rank: int, processes: int) -> dict[str, torch.Tensor]:
    """Gradients after a backward pass over this process's share of a batch of four."""
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type="VideoRestorer",
            generator=dict(
                type="IconVSRNet", mid_channels=4, num_blocks=1, spynet_width=4, keyframe_stride=2, padding=1
            ),
            pixel_loss=dict(type="CharbonnierLoss"),
        )
    )
    # Of size one, where a fresh network's output is nearly bilinear.
    torch.nn.init.normal_(model.generator.conv_last.weight)
    share = slice(rank * 4 // processes, (rank + 1) * 4 // processes)
    lrs, gts = torch.rand(4, 3, 3, 8, 8)[share], torch.rand(4, 3, 3, 32, 32)[share]
    wrapped = MMDistributedDataParallel(model) if processes > 1 else model
    wrapped(lrs, mode="loss", gts=gts)["loss"].backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


if __name__ == "__main__":
    torch.distributed.init_process_group("gloo")
    result = gradients(torch.distributed.get_rank(), torch.distributed.get_world_size())
    if torch.distributed.get_rank() == 0:
        torch.save(result, sys.argv[1])
    torch.distributed.destroy_process_group()
