"""A network's components as they are meant to be fastest on a CUDA device."""

import contextlib
from collections.abc import Iterator

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.inference.acceleration import generic
from vsr_plugin.inference.acceleration.conversion import mix_in
from vsr_plugin.inference.acceleration.cuda_graphs import StepGraphs


@contextlib.contextmanager
def trying_algorithms() -> Iterator[None]:
    """Let cuDNN try its algorithms for each new size of input, unless PyTorch was told to be deterministic."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before or not torch.backends.cudnn.deterministic
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


class CUDAComponents:
    """Steps that are replayed as graphs, mixed into a network over its own.

    Flow is not recorded: it comes in batches of many frames, whose kernels run longer than their launches.
    """

    step_graphs: StepGraphs

    def estimate_flows(self, lrs: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`VSRNet.estimate_flows`."""
        with trying_algorithms():
            return super().estimate_flows(lrs)

    def refill_feature(self, window: Tensor) -> Tensor:
        """See :meth:`InformationRefill.refill_feature`."""
        with trying_algorithms():
            return self.step_graphs.run(self, super().refill_feature, window)

    def backward_step(
        self, lr: Tensor, flow: Tensor | None = None, state: Tensor | None = None, refill: Tensor | None = None
    ) -> Tensor:
        """See :meth:`VSRNet.backward_step`."""
        with trying_algorithms():
            return self.step_graphs.run(self, super().backward_step, lr, flow, state, refill)

    def forward_step(
        self,
        lr: Tensor,
        flow: Tensor | None = None,
        state: Tensor | None = None,
        backward_feat: Tensor | None = None,
        refill: Tensor | None = None,
    ) -> Tensor:
        """See :meth:`VSRNet.forward_step`."""
        with trying_algorithms():
            return self.step_graphs.run(self, super().forward_step, lr, flow, state, backward_feat, refill)

    def reconstruct(self, lr: Tensor, backward_feat: Tensor | None, forward_feat: Tensor) -> Tensor:
        """See :meth:`VSRNet.reconstruct`."""
        with trying_algorithms():
            return self.step_graphs.run(self, super().reconstruct, lr, backward_feat, forward_feat)


def convert(net: nn.Module, dtype: torch.dtype) -> None:
    """Replace the parts of a network, in place."""
    generic.convert(net, dtype)
    mix_in(net, CUDAComponents)
    net.step_graphs = StepGraphs(net)
