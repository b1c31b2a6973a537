"""One module as one ONNX graph whose batch, height and width stay open; what the exporter cannot follow is replaced."""

import copy
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.acceleration.conversion import mixed
from vsr_plugin.errors import ExportError
from vsr_plugin.models.aggregation import InformationRefill
from vsr_plugin.models.propagation import Sweep
from vsr_plugin.models.vsr_net import VSRNet
from vsr_plugin.ops.deform_conv import ModulatedDeformConv, modulated_deform_conv2d, sample_columns


class _DeformConv(torch.autograd.Function):
    """One ``DeformConv`` node (opset 19), whose offsets lie as ours do: group, tap, vertical before horizontal."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, offset: Tensor, bias: Tensor, mask: Tensor, deform_groups: int
    ) -> Tensor:
        return modulated_deform_conv2d(x, offset, mask, weight, bias, padding=1, deform_groups=deform_groups)

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, offset: Any, bias: Any, mask: Any, deform_groups: int) -> Any:
        node = g.op(
            "DeformConv", x, weight, offset, bias, mask,
            kernel_shape_i=[3, 3], pads_i=[1, 1, 1, 1], offset_group_i=deform_groups,
        )  # fmt: skip
        # Rank alone: there may be more channels in `x` than come out.
        return node.setType(x.type().with_sizes([None] * 4))


class DeformConvNode:
    """A deformable convolution as a ``DeformConv`` node, mixed into :class:`ModulatedDeformConv`."""

    def deform(self, x: Tensor, displacements: Tensor, factors: Tensor) -> Tensor:
        """See :meth:`ModulatedDeformConv.deform`."""
        return _DeformConv.apply(x, self.weight, displacements, self.bias, factors, self.deform_groups)


class GridSampleNodes:
    """The same as samples (``GridSample``) times a matrix, for runtimes without ``DeformConv``; takes more memory."""

    def deform(self, x: Tensor, displacements: Tensor, factors: Tensor) -> Tensor:
        """See :meth:`ModulatedDeformConv.deform`."""
        geometry = ((3, 3), (1, 1), (1, 1), (1, 1), self.deform_groups)
        columns = sample_columns(x, displacements, factors, 0, geometry).flatten(1, 2)
        out = self.weight.flatten(1) @ columns
        n, _, h, w = x.shape
        return out.view(n, -1, h, w) + self.bias.view(1, -1, 1, 1)


#: What deformable convolutions become, with the first opset that has it.
DEFORM_CONVS: dict[str, tuple[type, int]] = {"DeformConv": (DeformConvNode, 19), "GridSample": (GridSampleNodes, 16)}


class _SelectedRefill:
    """``refill`` of a network whose keyframes are known only when the model runs.

    The features come with a flag. The fusion is computed at every frame, which is one convolution beside the 60 of
    the residual blocks, and its result is taken at keyframes.
    """

    def refill(self, aligned_feat: Tensor, refill: tuple[Tensor, Tensor], fusion: nn.Module) -> Tensor:
        feat, is_keyframe = refill
        return torch.where(is_keyframe, super().refill(aligned_feat, feat, fusion), aligned_feat)


class _SelectedStates:
    """``align`` of a network that is told only when the model runs which of the states there are.

    States come with a flag. What there is not is zero, and so is the flow to it; without any state, the result is.
    """

    def align(
        self, sweep: Sweep, frame: Tensor, flows: Sequence[Tensor], states: Sequence[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, ...]:
        tensors, exist = zip(*states, strict=True)
        aligned = super().align(sweep, frame, [*zip(flows, exist, strict=True)], tensors)
        return tuple(torch.where(exist[0], feat, torch.zeros_like(feat)) for feat in aligned)

    def flows_across(self, flows: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        tensors, exist = zip(*flows, strict=True)
        across = super().flows_across(tensors)
        return [torch.where(exists, flow, torch.zeros_like(flow)) for flow, exists in zip(across, exist, strict=True)]


def exportable_copy(net: VSRNet, deform_conv: str) -> VSRNet:
    """A copy of a network that the exporter can follow at any size, with the same steps and weights.

    Args:
        net: whose propagation goes through whole sequences.
        deform_conv: one of :data:`DEFORM_CONVS`.
    """
    net = copy.deepcopy(net).cpu().float().eval().requires_grad_(False)
    nodes = DEFORM_CONVS[deform_conv][0]
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, ModulatedDeformConv):
                setattr(module, name, mixed(child, nodes, "Exportable"))
    if getattr(net.cleaning, "sequential", False):  # a loop over the batch, whose length a trace would freeze
        net.cleaning.sequential = False
    if has_keyframes(net):
        net = mixed(net, _SelectedRefill, "Exportable")
    return mixed(net, _SelectedStates, "Exportable") if counts_states(net) else net


def has_keyframes(net: VSRNet) -> bool:
    """Whether a network refills features at keyframes; not without any, whatever its weights could do."""
    return isinstance(net, InformationRefill) and net.keyframe_stride is not None


def feature_plan(net: VSRNet) -> tuple[int, int] | None:
    """Which frames have features of their own, and from which frames these are computed, as two numbers.

    Returns:
        What ``keyframe_indices`` and ``neighbourhood_indices`` take as stride and padding; ``None`` without features.
    """
    if has_keyframes(net):
        return net.keyframe_stride, net.padding
    return (1, 0) if net.feature_windows(1) else None


def counts_states(net: VSRNet) -> bool:
    """Whether zeros cannot stand for states that there are not: layers that align would give their biases."""
    return any(True for _ in net.alignment.parameters())


def has_deform_convs(net: VSRNet) -> bool:
    """Whether there are deformable convolutions in what is exported of a network."""
    used = [net.alignment, *([net.edvr] if has_keyframes(net) else [])]
    return any(isinstance(layer, ModulatedDeformConv) for part in used for layer in part.modules())


#: Sides of the frames that graphs are traced with: multiples of 4, as IconVSR's steps need, but not of 32, so that the
#: trace holds the resizing inside SPyNet, which leaves other sizes as they are.
TRACE_SIZE = (36, 44)


@dataclass(frozen=True)
class Part:
    """A module to export.

    Args:
        module: takes and returns tensors.
        inputs: example tensors by name, in the order of the arguments.
        outputs: names of what it returns.
        axes: names of the open axes of each input and output, by position.
        batches: the module works through its batch in pieces when gradients are off, which a trace would freeze.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    axes: dict[str, dict[int, str]]
    batches: bool = False


def trace(part: Part, opset: int) -> onnx.ModelProto:
    """Export a part through PyTorch's tracing exporter.

    The newer one, built on ``torch.export``, was tried with PyTorch 2.13: SPyNet's results are the same, but working
    out its open sizes takes minutes.

    Raises:
        ExportError: the installed PyTorch cannot export to this opset.
    """
    options = dict(
        input_names=list(part.inputs), output_names=list(part.outputs), dynamic_axes=part.axes, opset_version=opset
    )
    if tuple(int(number) for number in torch.__version__.split(".")[:2]) >= (2, 5):
        options["dynamo"] = False
    if any(isinstance(module, DeformConvNode) for module in part.module.modules()):
        # Looking into a function that has a symbol of its own fails in the exporter of PyTorch 2.13.
        options["autograd_inlining"] = False
    file = io.BytesIO()
    try:
        # Warnings: sizes that are compared in Python (each comparison holds for all sizes), and the exporter's age.
        with warnings.catch_warnings(), torch.set_grad_enabled(part.batches):
            warnings.simplefilter("ignore")
            torch.onnx.export(part.module.eval(), tuple(part.inputs.values()), file, **options)
    except (RuntimeError, ValueError) as error:  # what it raises for opsets that it does not know is private
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if "opset" not in reason.lower():
            raise
        raise ExportError(f"PyTorch {torch.__version__} cannot export to opset {opset}: {reason}") from error
    return onnx.load_from_string(file.getvalue())
