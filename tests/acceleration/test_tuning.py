"""The choice among functions that compute the same."""

import pytest
import torch

from vsr_plugin.acceleration.cuda.conv_with_epilogue import add_by_operators, by_operators
from vsr_plugin.acceleration.cuda.tuning import Fastest
from vsr_plugin.acceleration.fused_conv import FusedConv


def reference(x):
    return x + x


def quick(x):
    return 2 * x


def wrong(x):
    return 2.1 * x


def elsewhere(x):
    raise NotImplementedError


def of_another_shape(x):
    return (2 * x)[:1]


def nan(x):
    return 2 * x + float("nan")


class Clock:
    """Seconds of the calls that it is shown, by name; and how many it was shown."""

    def __init__(self, **seconds):
        self.seconds, self.calls = seconds, 0

    def __call__(self, function, *arguments):
        self.calls += 1
        return self.seconds[function.__name__]


@pytest.mark.parametrize(
    ("seconds", "best"),
    [(dict(reference=2, quick=1), quick), (dict(reference=1, quick=2), reference)],
)
def test_the_fastest_is_taken_once_for_each_kind_of_input(seconds, best):
    clock = Clock(**seconds)
    fastest = Fastest(reference, quick, seconds=clock)
    for x in (torch.ones(3), torch.zeros(3)):
        assert torch.equal(fastest(x), 2 * x)
    assert list(fastest.chosen().values()) == [best.__name__]
    assert clock.calls == 2
    fastest(torch.ones(4))
    fastest(torch.ones(3, dtype=torch.float64))
    assert len(fastest.chosen()) == 3


@pytest.mark.parametrize("bad", [wrong, elsewhere, of_another_shape, nan])
def test_a_candidate_that_is_wrong_or_missing_is_never_taken(bad):
    clock = Clock(**{bad.__name__: 0, "reference": 2, "quick": 1})
    fastest = Fastest(reference, bad, quick, seconds=clock)
    assert torch.equal(fastest(torch.ones(3)), torch.full((3,), 2.0))
    assert list(fastest.chosen().values()) == ["quick"]


def test_layouts_are_kinds_of_their_own():
    fastest = Fastest(reference, quick, seconds=lambda *call: 1.0)
    x = torch.ones(1, 4, 3, 3)
    fastest(x)
    fastest(x.contiguous(memory_format=torch.channels_last))
    assert len(fastest.chosen()) == 2


def test_deterministic_runs_time_nothing(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    fastest = Fastest(reference, quick, seconds=lambda *call: pytest.fail("timed"))
    assert torch.equal(fastest(torch.ones(3)), torch.full((3,), 2.0))
    assert fastest.chosen() == {}


@pytest.mark.parametrize("slope", [None, 0, 0.1])
def test_a_convolution_by_operators_is_the_fused_one(slope):
    torch.manual_seed(0)
    x, residual = torch.randn(2, 1, 8, 9, 7)
    conv = FusedConv(torch.randn(8, 8, 3, 3), torch.randn(8), torch.float32, slope=slope)
    expected = by_operators(x, conv.weight, conv.bias, (1, 1), (1, 1), slope)
    assert (conv(x) - expected).abs().max() < 1e-4
    if slope is None:
        expected = add_by_operators(x, residual, conv.weight, conv.bias, (1, 1), (1, 1))
        assert (conv.add(x, residual) - expected).abs().max() < 1e-4
        assert (expected - residual - conv(x)).abs().max() < 1e-4
