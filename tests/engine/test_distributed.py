import os
import subprocess
import sys
from pathlib import Path

import torch
from two_processes import gradients


def test_two_processes_average_to_the_gradients_of_the_doubled_batch(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    script = Path(__file__).with_name("two_processes.py")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         script, tmp_path / "gradients.pth"],
        env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    averaged = torch.load(tmp_path / "gradients.pth", weights_only=True)
    whole = gradients(0, 1)
    assert averaged.keys() == whole.keys()
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    assert largest > 1e-3
    for name, gradient in whole.items():
        torch.testing.assert_close(averaged[name], gradient, rtol=1e-6, atol=1e-6 * largest, msg=name)
