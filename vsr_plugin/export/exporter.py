"""Weights in, verified ONNX files out: what onnxruntime computes is held against PyTorch."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

import vsr_plugin
from vsr_plugin.errors import ExportError
from vsr_plugin.export.schedule import write_schedule
from vsr_plugin.export.steps import example_inputs, make_parts
from vsr_plugin.export.tracing import DEFORM_CONVS, Part, exportable_copy, feature_plan, has_deform_convs, trace
from vsr_plugin.export.whole_graph import build_whole_graph
from vsr_plugin.files import PartialFile, PartialFolder
from vsr_plugin.models.cleaning import FootageCleaning, clean_by
from vsr_plugin.models.propagation import with_forgetting
from vsr_plugin.models.vsr_net import VSRNet
from vsr_plugin.weights import load_net

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


#: The first opset with ``DeformConv``.
DEFAULT_OPSET = 19


@dataclass(frozen=True)
class Export:
    """One file that was written.

    Args:
        path: the file.
        size: in bytes.
        difference: largest difference from PyTorch, see :data:`vsr_plugin.export.exporter.TOLERANCE`; ``None`` if
            onnxruntime is not installed.
    """

    path: Path
    size: int
    difference: float | None


def export_onnx(
    weights: str | os.PathLike,
    out: str | os.PathLike,
    *,
    parts: bool = False,
    opset: int = DEFAULT_OPSET,
    deform_conv: str = "DeformConv",
    keyframe_stride: int | None = 5,
    forgetting: float = 0.0,
    clean: float | None = None,
    step: float | None = None,
    overwrite: bool = False,
    on_file: Callable[[Export], None] | None = None,
) -> list[Export]:
    """Export a network and compare it with PyTorch; what does not compute the same gets no final name.

    Batch, length, height and width are open. The metadata of each file tell the network, the weights' name, scale,
    width, size multiple, sweeps, frames with features, forgetting, cleaning and versions.

    Args:
        weights: published name or path of weights of a whole network.
        out: the file ``.onnx`` for whole sequences, ``lrs (n, t, 3, h, w)`` to ``hrs (n, t, 3, H, W)``; with
            ``parts`` the folder for the steps.
        parts: export the steps of :func:`vsr_plugin.export.steps.make_parts` instead, for bounded memory.
        opset: version of the ONNX operators.
        deform_conv: what deformable convolutions become, one of :data:`vsr_plugin.export.tracing.DEFORM_CONVS`.
        keyframe_stride: for IconVSR, which keyframes to use; ``None`` for none.
        forgetting: share of its propagated features that a still pixel loses per frame, against drift in long shots.
        clean: share of what cleaning changes in the frames first, see :func:`vsr_plugin.inference.restore_frames`;
            ``None`` for what the network does by itself.
        step: how coarsely the codec of the frames quantises, in 255ths, which stands fast in the file; by default that
            of usual footage.
        overwrite: replace files of the same names.
        on_file: called with every file when it is verified.

    Returns:
        The files.

    Raises:
        WeightsError: the weights cannot be loaded.
        ExportError: this network or opset cannot be exported, or the result differs from PyTorch's.
        ComponentError: ``forgetting`` is not in [0, 1).
        MediaError: the files cannot be written there.
    """
    out = Path(out)
    if not parts and out.suffix != ".onnx":
        raise ExportError(f"{out}: the name of a model must end in .onnx; for a folder of steps pass --parts")
    if parts and out.suffix == ".onnx":
        raise ExportError(f"{out}: --parts writes a folder; give it a name without .onnx")
    target = PartialFolder(out, overwrite=overwrite) if parts else PartialFile(out, overwrite=overwrite)
    try:
        net = load_net(weights, keyframe_stride=keyframe_stride)
        _check(net, str(weights), opset, deform_conv)
        net = clean_by(net, clean, step)
        if step is not None and not isinstance(net.cleaning, FootageCleaning):
            raise ExportError(
                f"--step {step:g}: no cleaning in this file would look at it; leave it out, or add --clean 1"
            )
        net = with_forgetting(net, forgetting)
        copy = exportable_copy(net, deform_conv)
        common = _metadata(net, str(weights), opset, deform_conv)
        found = []
        if parts:
            for name, part in make_parts(copy).items():
                path = target.path / f"{name}.onnx"
                _save(trace(part, opset), path, {**common, "part": name})
                session = open_session(path)
                found.append(_judge(path, out / path.name, session and part_difference(session, copy, part), on_file))
        else:
            _save(build_whole_graph(copy, opset), target.path, {**common, "part": "whole"})
            session = open_session(target.path)
            found.append(_judge(target.path, out, session and sequence_difference(session, net), on_file))
        target.commit()
    except BaseException:
        target.discard()
        raise
    return found


def _check(net: nn.Module, weights: str, opset: int, deform_conv: str) -> None:
    if not isinstance(net, VSRNet):
        raise ExportError(
            f"{weights}: {type(net).__name__} is a part of a network; export weights of BasicVSR, IconVSR or BasicVSR++"
        )
    if net.propagation.cuts_sequences:
        raise ExportError(
            f"{weights}: propagation in segments is not exported, since where they end depends on the length; the "
            f"network has {net.components}"
        )
    if deform_conv not in DEFORM_CONVS:
        raise ExportError(f"deformable convolution {deform_conv!r} does not exist; use {' or '.join(DEFORM_CONVS)}")
    operator = deform_conv if has_deform_convs(net) else "GridSample"
    lowest = DEFORM_CONVS[operator][1]
    if opset < lowest:
        way_out = " or pass --deform-conv GridSample" if operator == "DeformConv" else ""
        raise ExportError(f"opset {opset} has no {operator}; use --opset {lowest} or higher{way_out}")


def _metadata(net: nn.Module, weights: str, opset: int, deform_conv: str) -> dict[str, str]:
    values = dict(
        network=type(net).__name__,
        weights=Path(weights).name,
        scale=net.scale,
        mid_channels=net.mid_channels,
        state_channels=net.state_channels,
        size_multiple=net.size_multiple,
        feature_stride=net.feature_stride,
        sweeps=write_schedule(net.propagation),
        forgetting=net.forgetting,
        opset=opset,
        vsr_plugin=vsr_plugin.__version__,
    )
    if (cleaning := net.cleaning) is not None:
        values.update(clean_strength=cleaning.strength, clean_rounds=cleaning.max_rounds)
        values.update(clean_radius=cleaning.radius, clean_threshold=cleaning.threshold)
        if isinstance(cleaning, FootageCleaning) and cleaning.quantiser_step is not None:
            values.update(clean_step=cleaning.quantiser_step)
    if plan := feature_plan(net):
        values.update(zip(("keyframe_stride", "padding"), plan, strict=True))
    if has_deform_convs(net):
        values.update(deform_conv=deform_conv)
    return {key: str(value) for key, value in values.items()}


def _save(model: onnx.ModelProto, path: Path, metadata: dict[str, str]) -> None:
    model.producer_name, model.producer_version = "vsr_plugin", vsr_plugin.__version__
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def _judge(path: Path, final: Path, difference: float | None, on_file: Callable[[Export], None] | None) -> Export:
    # Not `>`, which would let a NaN pass.
    if difference is not None and not difference <= TOLERANCE:
        raise ExportError(
            f"{final.name}: differs from PyTorch by {difference:.1e}, more than {TOLERANCE:.0e}; not written"
        )
    export = Export(final, path.stat().st_size, difference)
    if on_file is not None:
        on_file(export)
    return export
