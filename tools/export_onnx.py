"""Export a network as ONNX model, or its steps with --parts, and compare it with PyTorch in onnxruntime."""

import sys

from vsr_plugin.cli.command import run

if __name__ == "__main__":
    sys.exit(run("export"))
