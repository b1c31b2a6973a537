"""Networks as ONNX models with standard operators: whole sequences, or step by step for bounded memory.

Exporting needs the package ``onnx``, and ``onnxruntime`` to check what was exported; both are in
``requirements/export.txt``. :mod:`vsr_plugin.export.onnx_restorer`, which restores with what was exported, needs
neither ``onnx`` nor PyTorch, so nothing of the rest is imported before it is used.
"""

from typing import TYPE_CHECKING

from vsr_plugin.errors import ExportError

if TYPE_CHECKING:
    from vsr_plugin.export.exporter import Export, export_onnx

__all__ = ["Export", "export_onnx"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise ExportError("the package onnx is not installed; pip install -r requirements/export.txt") from error
    from vsr_plugin.export import exporter

    return getattr(exporter, name)
