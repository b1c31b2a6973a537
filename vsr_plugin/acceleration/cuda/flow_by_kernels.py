"""SPyNet by our CUDA kernels, on Hopper GPUs."""

import functools

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.acceleration.conversion import mixed
from vsr_plugin.acceleration.cuda import kernels
from vsr_plugin.models.spynet import SPyNet, SPyNetBasicModule

#: Largest difference to PyTorch's operators in the self-test, in pixels.
_TOLERANCE = 0.05


class FlowLevel(nn.Module):
    """One pyramid level.

    Args:
        plain: its convolutions as they train.
    """

    def __init__(self, plain: SPyNetBasicModule):
        super().__init__()
        convs = [module.conv for module in plain.basic_module]
        self.num_hidden = len(convs) - 1
        for number, conv in enumerate(convs):
            self.register_buffer(f"weight{number}", kernels.pack_flow_conv(conv.weight.detach()), persistent=False)
            self.register_buffer(f"bias{number}", conv.bias.detach().float(), persistent=False)

    def forward(self, ref: Tensor, supp: Tensor, coarse: Tensor | None) -> Tensor:
        """Flow ``(n, 2, h, w)`` from ``ref`` to ``supp`` ``(n, 3, h, w)``, given that of the coarser level."""
        flow, x = kernels.flow_start(ref.float().contiguous(), supp.float().contiguous(), coarse)
        for number in range(self.num_hidden):
            x = kernels.flow_conv(x, getattr(self, f"weight{number}"), getattr(self, f"bias{number}"))
        last = getattr(self, f"weight{self.num_hidden}"), getattr(self, f"bias{self.num_hidden}")
        return kernels.flow_conv_add_(flow, x, *last)


class FlowByKernels:
    """The pyramid, mixed into a SPyNet over its own; what the convolutions multiply is float16, flow float32."""

    def compute_flow(self, ref_pyramid: list[Tensor], supp_pyramid: list[Tensor]) -> Tensor:
        """See :meth:`SPyNet.compute_flow`."""
        flow = None
        for level, ref, supp in zip(self.basic_module, ref_pyramid, supp_pyramid, strict=True):
            flow = level(ref, supp, flow)
        return flow


def by_flow_kernels(spynet: SPyNet) -> SPyNet:
    """The flow network by kernels, in the place of ``spynet``, whose layers are replaced."""
    spynet.basic_module = nn.ModuleList(FlowLevel(level) for level in spynet.basic_module)
    return mixed(spynet, FlowByKernels)


@functools.cache
def flow_obstacle(device: torch.device) -> str | None:
    """Why the flow network's kernels are not used on a device; ``None`` if they are.

    Raises:
        torch.cuda.OutOfMemoryError: there is no memory to try them.
    """
    if device.type != "cuda" or torch.version.hip or torch.cuda.get_device_capability(device) != (9, 0):
        return "they are for Hopper GPUs"
    try:
        with torch.cuda.device(device), torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            spynet = SPyNet().eval().to(device)
            pair = torch.rand(2, 2, 3, 64, 96).to(device)
            with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False):
                right = spynet(*pair)
            spynet = by_flow_kernels(spynet)
            error = float((spynet(*pair) - right).abs().max() / right.abs().max().clamp(min=1))
    except torch.cuda.OutOfMemoryError:
        raise  # says nothing about the kernels
    except (RuntimeError, OSError, AttributeError) as error:  # no compiler, or a driver of another age
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return None if error < _TOLERANCE else f"the flow is off by {error:.3g} pixels"  # NaN is not less


def flow_kernels_work(device: torch.device) -> bool:
    """Whether the flow network's kernels can be compiled for a device and give the right flow there."""
    return flow_obstacle(device) is None
