"""What an exported model computes in onnxruntime against what the network computes in PyTorch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.errors import ExportError
from vsr_plugin.export.steps import example_inputs
from vsr_plugin.export.tracing import Part

#: Largest difference allowed, of values in [0, 1]; of values beyond, such as flow in pixels, relative to the largest.
TOLERANCE = 1e-4

#: Length, height and width of the sequences that are compared.
_SEQUENCES = ((1, 36, 44), (3, 33, 50), (7, 24, 64))
#: Batch, height and width of the inputs of single steps, which are multiples of 4.
_SIZES = ((1, 36, 44), (2, 32, 64), (1, 20, 92))


def open_session(path: Path) -> Any | None:
    """A model in onnxruntime on the CPU; ``None`` where onnxruntime is not installed.

    Raises:
        ExportError: onnxruntime cannot run it.
    """
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    # Waiting threads would otherwise take turns with PyTorch's, which computes the other side of the comparison.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # what it has to say about a refused model is in the exception
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base but this one
        reason = str(error).strip().splitlines()[0]
        raise ExportError(
            f"onnxruntime {onnxruntime.__version__} cannot run the exported model ({reason}); "
            "try --deform-conv GridSample, or another onnxruntime"
        ) from error


def difference(session: Any, inputs: Mapping[str, Tensor], expected: Tensor) -> float:
    """Largest difference of a session's result from PyTorch's; see :data:`TOLERANCE`."""
    wanted = {node.name for node in session.get_inputs()}
    (found,) = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items() if name in wanted})
    if found.shape != tuple(expected.shape):
        raise ExportError(f"the exported model returns shape {found.shape}, the network {tuple(expected.shape)}")
    largest = np.abs(found - expected.numpy()).max() / max(1.0, expected.abs().max().item())
    return float(largest)


@torch.no_grad()
def part_difference(session: Any, net: nn.Module, part: Part) -> float:
    """Largest difference of one step, over several sizes."""
    largest = 0.0
    for n, h, w in _SIZES:
        examples = example_inputs(net, h, w, n)
        inputs = {name: examples[name] for name in part.inputs}
        largest = max(largest, difference(session, inputs, part.module(*inputs.values())))
    return largest


@torch.no_grad()
def sequence_difference(session: Any, net: nn.Module) -> float:
    """Largest difference of whole sequences, over several lengths and sizes."""
    return max(difference(session, dict(lrs=lrs), net(lrs)) for lrs in (moving_pattern(*case) for case in _SEQUENCES))


def moving_pattern(t: int, h: int, w: int) -> Tensor:
    """Smooth texture that moves two pixels a frame, ``(1, t, 3, h, w)`` in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, (h + 2 * t) // 4 + 2, (w + 2 * t) // 4 + 2, generator=generator)
    texture = F.interpolate(coarse, scale_factor=4, mode="bicubic").clamp(0, 1)
    return torch.stack([texture[..., 2 * i : 2 * i + h, 2 * i : 2 * i + w] for i in range(t)], dim=1)
