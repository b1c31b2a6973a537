"""One module as one ONNX graph whose batch, height and width stay open."""

import io
import warnings
from dataclasses import dataclass

import onnx
import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.errors import ExportError
from vsr_plugin.export.onnx_layers import DeformConvNode

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
