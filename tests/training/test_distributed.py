from pathlib import Path

import pytest
import torch
from forked_tools import in_two_processes
from two_processes import MODELS_TO_TRAIN, gradients


@pytest.mark.parametrize("name", MODELS_TO_TRAIN)
def test_two_processes_average_to_the_gradients_of_the_doubled_batch(name: str, tmp_path: Path) -> None:
    for process in in_two_processes(Path(__file__).with_name("two_processes.py"), tmp_path / "gradients.pth", name):
        status, _, err = process.wait()
        assert status == 0, err
    averaged = torch.load(tmp_path / "gradients.pth", weights_only=True)
    whole = gradients(name, 0, 1)
    assert averaged.keys() == whole.keys()
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    assert largest > 1e-3
    for key, gradient in whole.items():
        torch.testing.assert_close(averaged[key], gradient, rtol=1e-6, atol=1e-6 * largest, msg=key)
