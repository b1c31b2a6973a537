"""Networks as ONNX models with standard operators: whole sequences, or step by step for bounded memory.

Needs the package ``onnx``, and ``onnxruntime`` to check what was exported; both are in ``requirements/export.txt``.
"""

from vsr_plugin.errors import ExportError

try:
    import onnx  # noqa: F401
except ImportError as error:
    raise ExportError("the package onnx is not installed; pip install -r requirements/export.txt") from error

from vsr_plugin.export.export_onnx import Export, export_onnx

__all__ = ["Export", "export_onnx"]
