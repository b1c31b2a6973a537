"""Restore a clip with an exported model, without PyTorch and MMagic"""

import sys
from pathlib import Path

# The package lies beside this folder; where PyTorch is missing it is hardly installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

try:
    from vsr_plugin.cli.command import run
except ModuleNotFoundError as error:
    if error.name != "vsr_plugin":
        raise
    sys.exit("error: the folder vsr_plugin is not beside tools/; run this tool in a whole checkout")

if __name__ == "__main__":
    sys.exit(run("onnx_restore"))
