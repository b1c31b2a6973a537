"""A network's steps as they are fastest on a CUDA device: replayed as graphs, on two streams, of kernels of our own."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.acceleration import generic
from vsr_plugin.acceleration.conversion import mixed
from vsr_plugin.acceleration.cuda.flow_by_kernels import by_flow_kernels, flow_kernels_work
from vsr_plugin.acceleration.cuda.graphs import StepGraphs
from vsr_plugin.acceleration.cuda.kernel_components import (
    FirstConvByParts,
    FusionByParts,
    KernelComponents,
    KernelDCNPack,
    KernelWarp,
    UpsamplingByKernels,
    enlarge_by_kernel,
    guided_deform_conv,
)
from vsr_plugin.acceleration.cuda.kernels import CHANNELS, kernels_work
from vsr_plugin.models.aggregation import PCDAlignment, TSAFusion
from vsr_plugin.models.alignment import FlowGuidedDeformConv
from vsr_plugin.models.driver import Group, StepInputs, Sweep
from vsr_plugin.models.spynet import PUBLISHED_WIDTH
from vsr_plugin.ops.deform_conv import ModulatedDCNPack


@contextlib.contextmanager
def trying_algorithms() -> Iterator[None]:
    """Let cuDNN try its algorithms for each new size of input, unless PyTorch was told to be deterministic."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before or not torch.backends.cudnn.deterministic
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


class OnTheirWay(Mapping[int, Tensor]):
    """Tensors by index that another stream is computing; whoever takes one has the current stream wait for it.

    Args:
        sources: what they are computed from; kept as long as they may be read.
    """

    def __init__(self, *sources: Tensor) -> None:
        self._sources = sources
        self._begun: dict[int, tuple[Tensor, torch.cuda.Event]] = {}

    def begin(self, i: int, tensor: Tensor, arrival: torch.cuda.Event) -> None:
        """Enter a tensor, and what to wait for."""
        self._begun[i] = tensor, arrival

    def __getitem__(self, i: int) -> Tensor:
        tensor, arrival = self._begun[i]
        torch.cuda.current_stream(tensor.device).wait_event(arrival)
        return tensor

    def __iter__(self) -> Iterator[int]:
        return iter(self._begun)

    def __len__(self) -> int:
        return len(self._begun)


class StepOfTensors:
    """A network's step as a function of tensors alone, which can be recorded.

    Args:
        step: gives the states of sweeps at a frame each.
        group: the sweeps; each has a recording of its own.
    """

    def __init__(self, step: Callable[[Group, Sequence[StepInputs]], tuple[Tensor, ...]], group: Group) -> None:
        self._step, self._group = step, group
        self.__name__ = "_and_".join(sweep.name for sweep in group) + "_step"

    @staticmethod
    def tensors(inputs: Sequence[StepInputs]) -> list[Tensor | None]:
        """What it takes, one after the other."""
        return [x for i in inputs for x in (i.lr, *i.flows, *i.states, *i.seen, i.feature)]

    def __call__(self, *tensors: Tensor | None) -> Tensor | tuple[Tensor, ...]:
        """The new states; of a single sweep its state alone."""
        left, inputs = [*tensors], []
        for sweep in self._group:
            counts = 1, sweep.order, sweep.order, len(sweep.sees), 1
            (lr,), flows, states, seen, (feature,) = (tuple(left.pop(0) for _ in range(count)) for count in counts)
            inputs.append(StepInputs(lr, flows, states, seen, feature))
        states = self._step(self._group, inputs)
        return states if len(self._group) > 1 else states[0]


class CUDAComponents:
    """Steps that are replayed as graphs, independent branches side by side, mixed into a network over its own.

    Flow is not recorded: it comes in batches of many frames, whose kernels run longer than their launches. Nor does
    cuDNN try algorithms for its thirty sizes: that made warming up in float32 half a minute long, and nothing faster.
    """

    step_graphs: StepGraphs

    def frame_features(self, lrs: Tensor) -> Mapping[int, Tensor]:
        """See :meth:`InformationRefill.frame_features`; beside what follows, in the backward branch's order."""
        windows = self.feature_windows(lrs.size(1))
        if not windows or not self._works_beside(lrs):
            return super().frame_features(lrs)
        feats = OnTheirWay(lrs)
        with self._beside(lrs) as side, trying_algorithms():
            for i in sorted(windows, reverse=True):
                window = torch.stack([lrs[:, j] for j in windows[i]], dim=1)
                feat = self.step_graphs.run(self, super().frame_feature, window, lane="beside")
                feats.begin(i, feat, side.record_event())
        return feats

    def frame_feature(self, window: Tensor) -> Tensor:
        """See :meth:`InformationRefill.frame_feature`."""
        with trying_algorithms():
            return self.step_graphs.run(self, super().frame_feature, window)

    def step(self, sweep: Sweep, inputs: StepInputs) -> Tensor:
        """See :meth:`VSRNet.step`."""
        plain = super().step
        step = StepOfTensors(lambda group, of: (plain(group[0], of[0]),), (sweep,))
        with trying_algorithms():
            return self.step_graphs.run(self, step, *step.tensors([inputs]))

    def branches_at_once(self, lrs: Tensor) -> bool:
        """See :meth:`VSRNet.branches_at_once`; true where steps are recorded.

        The kernels of larger frames fill the GPU by themselves, and tiles are there to save memory.
        """
        return self.propagation.independent_branches and self._works_beside(lrs)

    def steps(self, group: Group, inputs: Sequence[StepInputs]) -> tuple[Tensor, ...]:
        """See :meth:`SequenceNet.steps`; at once where :meth:`branches_at_once`, else one after the other."""
        if len(group) == 1 or not self.branches_at_once(inputs[0].lr):
            return super().steps(group, inputs)
        step = StepOfTensors(self._side_by_side, group)
        with trying_algorithms():
            return self.step_graphs.run(self, step, *step.tensors(inputs))

    @functools.cached_property
    def _side_stream(self) -> torch.cuda.Stream:
        return torch.cuda.Stream(next(self.parameters()).device)

    def _side_by_side(self, group: Group, inputs: Sequence[StepInputs]) -> tuple[Tensor, Tensor]:
        """States of both branches, by two streams.

        Recorded, the streams become two paths through one graph.
        """
        (first, second), (of_first, of_second) = group, inputs
        side = self._side_stream
        current = torch.cuda.current_stream(side.device)
        # The allocator gives memory that was taken on a stream back to that stream, as soon as Python lets go of it.
        # What the side stream took is used on the current one too, by kernels that may still be waiting then. But
        # whatever is queued on the side stream, here and in `_beside`, waits first for all that was queued on the
        # current one before; and the current one goes on after all that the side stream reads.
        side.wait_stream(current)
        try:
            with torch.cuda.stream(side):
                of_side = super().step(second, of_second)
            of_current = super().step(first, of_first)
        finally:
            current.wait_stream(side)
        return of_current, of_side

    def _works_beside(self, lrs: Tensor) -> bool:
        """Whether the side stream is used for frames ``(n, ..., 3, h, w)``; why not, says :meth:`branches_at_once`."""
        return self._on_gpu(lrs) and not self.step_graphs.in_turn and self.step_graphs.records(self, lrs)

    def _on_gpu(self, lrs: Tensor) -> bool:
        return lrs.is_cuda

    @contextlib.contextmanager
    def _beside(self, lrs: Tensor) -> Iterator[torch.cuda.Stream]:
        """Queue on the side stream meanwhile, after what is queued on the current one so far.

        Memory is safe as in :meth:`_side_by_side`, if inputs are kept until the current stream waits for results.
        """
        side = self._side_stream
        side.wait_stream(torch.cuda.current_stream(side.device))
        with torch.cuda.stream(side):
            yield side

    def lookahead(self, lrs: Tensor) -> int:
        """See :meth:`SequenceNet.lookahead`."""
        return int(self._works_beside(lrs))

    def begin_reconstruct(self, lr: Tensor, *states: Tensor) -> Callable[[], Tensor]:
        """See :meth:`VSRNet.begin_reconstruct`; on the side stream."""
        if not self._works_beside(lr):
            return super().begin_reconstruct(lr, *states)
        inputs = lr, *states
        with self._beside(lr) as side, trying_algorithms():
            hr = self.step_graphs.run(self, super().reconstruct, *inputs, lane="beside")
            arrival = side.record_event()

        def result(kept: tuple[Tensor | None, ...] = inputs) -> Tensor:
            torch.cuda.current_stream(hr.device).wait_event(arrival)
            return hr

        return result

    def reconstruct(self, lr: Tensor, *states: Tensor) -> Tensor:
        """See :meth:`VSRNet.reconstruct`."""
        with trying_algorithms():
            return self.step_graphs.run(self, super().reconstruct, lr, *states)


def _by_kernels(net: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network with our kernels in the place of its own layers where those of 64 channels are near."""
    net.upsampling = UpsamplingByKernels(net, dtype)
    for name in (*net.shuffle_names(), "conv_hr", "conv_last"):
        delattr(net, name)
    if hasattr(net, "fusion"):
        net.fusion = FusionByParts(net.fusion, dtype)
    for module in net.modules():
        if isinstance(module, PCDAlignment | TSAFusion):
            module.upsample_x2 = enlarge_by_kernel
    setattr(net, net.alignment_name, mixed(net.alignment, KernelWarp))
    return mixed(net, KernelComponents)


def convert(net: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network with its parts replaced; ``net`` is not to be used any more."""
    device = next(net.parameters()).device
    by_kernels = net.mid_channels == CHANNELS and kernels_work(device, dtype)
    first_convs = {}
    if by_kernels:
        net = _by_kernels(net, dtype)
        first_convs = {name: branch.main[0] for name, branch in net.branches().items()}
    deform = {ModulatedDCNPack: _deform_conv, FlowGuidedDeformConv: guided_deform_conv} if by_kernels else {}
    net = generic.convert(net, dtype, _convert_flow(net, dtype), deform)
    for name, conv in first_convs.items():
        # What an alignment carries behind the features comes in one tensor with them.
        if FirstConvByParts.fits(conv) and not net.alignment.carried_channels:
            net.branches()[name].first_by_parts = FirstConvByParts(conv, dtype)
    net = mixed(net, CUDAComponents)
    net.step_graphs = StepGraphs(net)
    if device.type == "cuda":
        # Kernels read weights before they wait for what was launched before them.
        torch.cuda.current_stream(device).synchronize()
    return net


def _convert_flow(net: nn.Module, dtype: torch.dtype) -> torch.dtype | None:
    """Put kernels in the place of the flow network's layers, or say in which precision these are to multiply."""
    if dtype == torch.float32 or not net.alignment.needs_flow:
        return torch.float32
    device = net.spynet.mean.device
    published = net.spynet.width == PUBLISHED_WIDTH
    if published and flow_kernels_work(device) and torch.backends.cudnn.allow_tf32:
        net.spynet = by_flow_kernels(net.spynet)
        return None
    return torch.float16 if _multiplies_in_tf32(device) else torch.float32


def _multiplies_in_tf32(device: torch.device) -> bool:
    """Whether PyTorch's float32 convolutions have the 11 significant bits of TF32 there, which float16 has as well."""
    if device.type != "cuda" or torch.version.hip or not torch.backends.cudnn.allow_tf32:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _deform_conv(plain: ModulatedDCNPack, dtype: torch.dtype) -> nn.Module | None:
    return KernelDCNPack(plain, dtype) if KernelDCNPack.fits(plain) else None
