"""When steps are recorded and replayed; the recorder here computes the same function again, on a CPU."""

import pytest
import torch
from pretended_recording import lrs_of, recorded_net

from vsr_plugin.acceleration.cuda.graphs import Recording, release_graphs, steps_unrecorded
from vsr_plugin.inference.planning import Plan
from vsr_plugin.inference.sequence import restore_sequence
from vsr_plugin.inference.tiling import tile_net
from vsr_plugin.models import BasicVSRNet, BasicVSRPlusPlusNet, IconVSRNet


@pytest.mark.parametrize(
    ("net_class", "arguments"),
    [
        (BasicVSRNet, {}),
        (IconVSRNet, dict(keyframe_stride=3)),
        (BasicVSRNet, dict(alignment="none")),
        (BasicVSRPlusPlusNet, {}),
        (BasicVSRPlusPlusNet, dict(is_low_res_input=False)),
    ],
)
@torch.no_grad()
def test_replayed_steps_give_the_numbers_of_the_network(recorder, net_class, arguments):
    net = recorded_net(net_class, recorder, **arguments)
    lrs = lrs_of(9)
    with steps_unrecorded(net):
        expected = net(lrs)
    assert not recorder.recorded
    for _ in range(3):
        assert torch.equal(net(lrs), expected)
    other = lrs_of(9) * 0.5
    with steps_unrecorded(net):
        expected = net(other)
    assert torch.equal(net(other), expected)
    assert {f"{sweep.name}_step" for sweep in net.propagation.sweeps} <= set(recorder.recorded)
    assert "reconstruct" in recorder.recorded
    assert ("frame_feature" in recorder.recorded) == (net_class is not BasicVSRNet)
    # Every kind once: with and without a state, at keyframes and between them; of BasicVSR++ with none, one and two.
    assert len(recorder.recorded) <= (14 if net_class is BasicVSRPlusPlusNet else 12)
    assert recorder.replays > 3 * 9


@torch.no_grad()
def test_a_kind_of_input_that_comes_once_is_not_recorded(recorder):
    net = recorded_net(BasicVSRNet, recorder)
    net(lrs_of(1))
    net(lrs_of(1, 16, 16))
    assert not recorder.recorded
    net(lrs_of(1))
    assert recorder.recorded == ["backward_step", "forward_step", "reconstruct"]


def test_with_gradients_nothing_is_recorded(recorder):
    net = recorded_net(BasicVSRNet, recorder)
    for _ in range(3):
        net(lrs_of(1)).sum().backward()
    assert not recorder.recorded
    assert net.conv_last.weight.grad.abs().max() > 0


@torch.no_grad()
def test_tiles_and_large_frames_are_not_recorded(recorder, monkeypatch):
    net = recorded_net(BasicVSRNet, recorder)
    tiled = tile_net(net, 28)
    for _ in range(3):
        tiled(lrs_of(2, 40, 40))
    assert not recorder.recorded
    monkeypatch.setattr("vsr_plugin.acceleration.cuda.graphs._MAX_PIXELS", 40 * 40 - 1)
    for _ in range(3):
        net(lrs_of(2, 40, 40))
    assert not recorder.recorded


@torch.no_grad()
def test_what_cannot_be_recorded_is_computed(recorder):
    def failing(function, inputs, lane):
        recorder.recorded.append(function.__name__)
        raise RuntimeError("operation not permitted when stream is capturing")

    net = recorded_net(BasicVSRNet, failing)
    lrs = lrs_of(3)
    with steps_unrecorded(net):
        expected = net(lrs)
    for _ in range(4):
        assert torch.equal(net(lrs), expected)
    assert len(recorder.recorded) == len(set(recorder.recorded)) + 2, "tried once for each kind, not at every call"


@torch.no_grad()
def test_a_replay_that_gives_other_numbers_is_not_used(recorder):
    def stale(function, inputs, lane):
        recording = recorder(function, inputs, lane)
        return Recording(recording.inputs, recording.output.zero_(), lambda: None)

    net = recorded_net(BasicVSRNet, stale)
    lrs = lrs_of(4)
    with steps_unrecorded(net):
        expected = net(lrs)
    for _ in range(3):
        assert torch.equal(net(lrs), expected)


@torch.no_grad()
def test_out_of_memory_goes_to_the_caller(recorder):
    def full(function, inputs, lane):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    net = recorded_net(BasicVSRNet, full)
    net(lrs_of(1))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        net(lrs_of(1))


def sum_and_difference(a, b):
    return a + b, a - b


@torch.no_grad()
def test_a_function_may_have_several_results(recorder):
    net = recorded_net(BasicVSRNet, recorder)
    a, b, c = torch.rand(3, 1, 8, 6, 5)
    results = [net.step_graphs.run(net, sum_and_difference, x, y) for x, y in ((a, b), (a, b), (b, c))]
    assert recorder.recorded == ["sum_and_difference"]
    assert recorder.replays == 3, "one of them to see whether it is right"
    for result, (x, y) in zip(results, ((a, b), (a, b), (b, c)), strict=True):
        assert torch.equal(result[0], x + y)
        assert torch.equal(result[1], x - y)


@pytest.mark.parametrize("wrong", [0, 1])
@torch.no_grad()
def test_all_results_of_a_replay_must_be_right(recorder, wrong):
    def stale(function, inputs, lane):
        recording = recorder(function, inputs, lane)
        recording.output[wrong].zero_()
        return Recording(recording.inputs, recording.output, lambda: None)

    net = recorded_net(BasicVSRNet, stale)
    a, b = torch.rand(2, 1, 8, 6, 5)
    for _ in range(3):
        got = net.step_graphs.run(net, sum_and_difference, a, b)
        assert torch.equal(got[0], a + b)
        assert torch.equal(got[1], a - b)


@torch.no_grad()
def test_released_graphs_are_recorded_again(recorder):
    net = recorded_net(BasicVSRNet, recorder)
    for _ in range(2):
        net(lrs_of(1))
    release_graphs(net)
    net(lrs_of(1))
    assert len(recorder.recorded) == 3
    net(lrs_of(1))
    assert len(recorder.recorded) == 6
    release_graphs(BasicVSRNet(mid_channels=8, num_blocks=1))  # has none, which is no error


@pytest.mark.parametrize("net_class", [BasicVSRNet, IconVSRNet])
def test_an_ensemble_replays_steps_of_both_sizes(recorder, net_class, tmp_path):
    net = recorded_net(net_class, recorder)
    net.ensemble = 4  # as accelerating leaves it; another copy would not be recorded

    def restored() -> torch.Tensor:
        run = restore_sequence(net, list(lrs_of(7)[0]), Plan("whole", block=7), folder=tmp_path)
        return torch.stack([hr for _, hr in run])

    with steps_unrecorded(net):
        expected = restored()
    assert not recorder.recorded
    for _ in range(2):  # some kinds come once in each
        assert torch.equal(restored(), expected)
    # Every kind twice, once for frames whose rows are columns, and none anew when sizes change again.
    assert recorder.recorded.count("reconstruct") == 2
    known = len(recorder.recorded)
    assert torch.equal(restored(), expected)
    assert len(recorder.recorded) == known <= 28
