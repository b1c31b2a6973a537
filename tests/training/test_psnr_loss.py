"""The loss of cleanings."""

import pytest
import torch

from vsr_plugin.registry import MODELS


def test_is_minus_psnr_of_each_sequence():
    loss = MODELS.build(dict(type="PSNRLoss", floor=1e-6))
    target = torch.zeros(2, 3, 3, 4, 5)
    pred = torch.stack([torch.full((3, 3, 4, 5), 0.1), torch.full((3, 3, 4, 5), 0.01)]).requires_grad_()
    value = loss(pred, target)
    assert float(value.detach()) == pytest.approx(-(20 + 40) / 2, abs=1e-3)
    value.backward()
    # A share of the error counts the same whatever the error is.
    torch.testing.assert_close(pred.grad[0, 0, 0, 0, 0] * 0.1, pred.grad[1, 0, 0, 0, 0] * 0.01, rtol=1e-3, atol=0)


def test_perfect_sequences():
    loss = MODELS.build(dict(type="PSNRLoss"))
    frames = torch.rand(1, 2, 3, 4, 4, requires_grad=True)
    value = loss(frames, frames.detach())
    value.backward()
    assert torch.isfinite(value)
    assert not frames.grad.any()
