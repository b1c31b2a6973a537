"""Training of what tells quantisers: its losses, what it predicts, and the measure of its errors."""

import math

import pytest
import torch
from mmagic.structures import DataSample
from mmengine.optim import OptimWrapper

from vsr_plugin.registry import METRICS, MODELS
from vsr_plugin.training import QuantiserTraining


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MODELS.build(dict(type="QuantiserTraining", generator=dict(type="QuantiserEstimator", mid_channels=4)))


def sample(step):
    return DataSample(metainfo=dict(coarsest_step=step))


def constant(model, doublings, log_scale):
    torch.nn.init.zeros_(model.generator.conv_last.weight)
    model.generator.conv_last.bias.data = torch.tensor([doublings, log_scale])


def test_losses_are_those_of_a_laplace_distribution(model):
    constant(model, 3.0, math.log(0.5))
    losses = model(torch.rand(2, 3, 3, 16, 16), [sample(4.0), sample(16.0)], "loss")
    # Doublings of the truth are 2 and 4: either is off by one.
    assert losses["loss_places"].item() == pytest.approx(1 / 0.5 + math.log(0.5))
    assert losses["loss_frames"].item() == pytest.approx(1)


def test_clips_of_unknown_steps_are_left_out(model):
    constant(model, 3.0, 0.0)
    inputs = torch.rand(2, 3, 3, 16, 16)
    losses = model(inputs, [sample(4.0), sample(None)], "loss")
    assert losses["loss_frames"].item() == pytest.approx(1)
    losses = model(inputs, [sample(None), sample(None)], "loss")
    assert all(loss.item() == 0 for loss in losses.values())


def test_it_learns(model):
    noisy = torch.rand(1, 3, 3, 16, 16)
    still = 0.5 + 0.02 * noisy
    optimiser = OptimWrapper(torch.optim.Adam(model.parameters(), lr=1e-2))
    for _ in range(60):
        losses = model(torch.cat((still, noisy)), [sample(2.0), sample(32.0)], "loss")
        optimiser.update_params(sum(losses.values()))
    predicted = model(torch.cat((still, noisy)), [sample(2.0), sample(32.0)], "predict")
    steps = [each.estimated_step for each in predicted]
    assert steps[0] <= 4 < 16 <= steps[1]


def test_what_it_gives_without_a_mode(model):
    doublings, log_scale = model(torch.rand(2, 3, 3, 16, 24))
    assert doublings.shape == log_scale.shape == (6, 1, 2, 3)
    assert isinstance(model, QuantiserTraining)


def test_errors_are_counted_in_doublings():
    metric = METRICS.build(dict(type="StepError"))
    truth = [(8.0, 8.0), (8.0, 2.0), (4.0, 8.0), (None, 3.0), (3.0, None)]
    metric.process({}, [dict(coarsest_step=step, estimated_step=seen) for step, seen in truth])
    assert metric.evaluate(5) == pytest.approx(dict(step_error=1.0, off_by_more_than_one=1 / 3))
