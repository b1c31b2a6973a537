"""When steps are recorded and replayed; the recorder here computes the same function again, on a CPU."""

import pytest
import torch

from vsr_plugin.inference.acceleration.conversion import mix_in
from vsr_plugin.inference.acceleration.cuda import CUDAComponents
from vsr_plugin.inference.acceleration.cuda_graphs import Recording, StepGraphs, release_graphs, steps_unrecorded
from vsr_plugin.inference.tiling import tile_net
from vsr_plugin.models import BasicVSRNet, IconVSRNet


class Recorder:
    """Records like CUDA: the inputs are tensors of its own, and each replay overwrites the one output."""

    def __init__(self):
        self.recorded, self.replays = [], 0

    def __call__(self, function, inputs):
        self.recorded.append(function.__name__)
        fixed = tuple(None if x is None else x.clone() for x in inputs)
        output = function(*fixed)

        def replay():
            self.replays += 1
            output.copy_(function(*fixed))

        return Recording(fixed, output, replay)


@pytest.fixture
def recorder():
    return Recorder()


def _net(net_class, recorder, **arguments):
    torch.manual_seed(0)
    net = net_class(mid_channels=8, num_blocks=1, **arguments).eval()
    mix_in(net, CUDAComponents)
    net.step_graphs = StepGraphs(net, recorder)
    return net


def _lrs(t, h=20, w=24):
    return torch.rand(1, t, 3, h, w, generator=torch.Generator().manual_seed(t))


@pytest.mark.parametrize(
    ("net_class", "arguments"),
    [(BasicVSRNet, {}), (IconVSRNet, dict(keyframe_stride=3)), (BasicVSRNet, dict(alignment="none"))],
)
@torch.no_grad()
def test_replayed_steps_give_the_numbers_of_the_network(recorder, net_class, arguments):
    net = _net(net_class, recorder, **arguments)
    lrs = _lrs(9)
    with steps_unrecorded(net):
        expected = net(lrs)
    assert not recorder.recorded
    for _ in range(3):
        assert torch.equal(net(lrs), expected)
    other = _lrs(9) * 0.5
    with steps_unrecorded(net):
        expected = net(other)
    assert torch.equal(net(other), expected)
    assert {"backward_step", "forward_step", "reconstruct"} <= set(recorder.recorded)
    assert ("refill_feature" in recorder.recorded) == (net_class is IconVSRNet)
    # Every kind once: with and without a state, at keyframes and between them.
    assert len(recorder.recorded) <= 12
    assert recorder.replays > 3 * 9


@torch.no_grad()
def test_a_kind_of_input_that_comes_once_is_not_recorded(recorder):
    net = _net(BasicVSRNet, recorder)
    net(_lrs(1))
    net(_lrs(1, 16, 16))
    assert not recorder.recorded
    net(_lrs(1))
    assert recorder.recorded == ["backward_step", "forward_step", "reconstruct"]


def test_with_gradients_nothing_is_recorded(recorder):
    net = _net(BasicVSRNet, recorder)
    for _ in range(3):
        net(_lrs(1)).sum().backward()
    assert not recorder.recorded
    assert net.conv_last.weight.grad.abs().max() > 0


@torch.no_grad()
def test_tiles_and_large_frames_are_not_recorded(recorder, monkeypatch):
    net = _net(BasicVSRNet, recorder)
    tiled = tile_net(net, 28)
    for _ in range(3):
        tiled(_lrs(2, 40, 40))
    assert not recorder.recorded
    monkeypatch.setattr("vsr_plugin.inference.acceleration.cuda_graphs._MAX_PIXELS", 40 * 40 - 1)
    for _ in range(3):
        net(_lrs(2, 40, 40))
    assert not recorder.recorded


@torch.no_grad()
def test_what_cannot_be_recorded_is_computed(recorder):
    def failing(function, inputs):
        recorder.recorded.append(function.__name__)
        raise RuntimeError("operation not permitted when stream is capturing")

    net = _net(BasicVSRNet, failing)
    lrs = _lrs(3)
    with steps_unrecorded(net):
        expected = net(lrs)
    for _ in range(4):
        assert torch.equal(net(lrs), expected)
    assert len(recorder.recorded) == len(set(recorder.recorded)) + 2, "tried once for each kind, not at every call"


@torch.no_grad()
def test_a_replay_that_gives_other_numbers_is_not_used(recorder):
    def stale(function, inputs):
        recording = recorder(function, inputs)
        return Recording(recording.inputs, recording.output.zero_(), lambda: None)

    net = _net(BasicVSRNet, stale)
    lrs = _lrs(4)
    with steps_unrecorded(net):
        expected = net(lrs)
    for _ in range(3):
        assert torch.equal(net(lrs), expected)


@torch.no_grad()
def test_out_of_memory_goes_to_the_caller(recorder):
    def full(function, inputs):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    net = _net(BasicVSRNet, full)
    net(_lrs(1))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        net(_lrs(1))


@torch.no_grad()
def test_released_graphs_are_recorded_again(recorder):
    net = _net(BasicVSRNet, recorder)
    for _ in range(2):
        net(_lrs(1))
    release_graphs(net)
    net(_lrs(1))
    assert len(recorder.recorded) == 3
    net(_lrs(1))
    assert len(recorder.recorded) == 6
    release_graphs(BasicVSRNet(mid_channels=8, num_blocks=1))  # has none, which is no error
