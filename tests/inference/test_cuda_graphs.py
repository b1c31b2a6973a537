"""When steps are recorded and replayed; the recorder here computes the same function again, on a CPU."""

import contextlib
import functools
import weakref

import pytest
import torch

from vsr_plugin.evaluation.benchmarking import profiling
from vsr_plugin.inference.acceleration.conversion import mix_in
from vsr_plugin.inference.acceleration.cuda.components import CUDAComponents
from vsr_plugin.inference.acceleration.cuda.graphs import Recording, StepGraphs, release_graphs, steps_unrecorded
from vsr_plugin.inference.tiling import tile_net
from vsr_plugin.models import BasicVSRNet, IconVSRNet


class Recorder:
    """Records like CUDA: the inputs are tensors of its own, and each replay overwrites the one output."""

    def __init__(self):
        self.recorded, self.replays = [], 0

    def __call__(self, function, inputs, lane):
        self.recorded.append(function.__name__)
        fixed = tuple(None if x is None else x.clone() for x in inputs)
        output = function(*fixed)

        def replay():
            self.replays += 1
            if isinstance(output, tuple):
                for x, again in zip(output, function(*fixed), strict=True):
                    x.copy_(again)
            else:
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
    monkeypatch.setattr("vsr_plugin.inference.acceleration.cuda.graphs._MAX_PIXELS", 40 * 40 - 1)
    for _ in range(3):
        net(_lrs(2, 40, 40))
    assert not recorder.recorded


@torch.no_grad()
def test_what_cannot_be_recorded_is_computed(recorder):
    def failing(function, inputs, lane):
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
    def stale(function, inputs, lane):
        recording = recorder(function, inputs, lane)
        return Recording(recording.inputs, recording.output.zero_(), lambda: None)

    net = _net(BasicVSRNet, stale)
    lrs = _lrs(4)
    with steps_unrecorded(net):
        expected = net(lrs)
    for _ in range(3):
        assert torch.equal(net(lrs), expected)


@torch.no_grad()
def test_out_of_memory_goes_to_the_caller(recorder):
    def full(function, inputs, lane):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    net = _net(BasicVSRNet, full)
    net(_lrs(1))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        net(_lrs(1))


def sum_and_difference(a, b):
    return a + b, a - b


@torch.no_grad()
def test_a_function_may_have_several_results(recorder):
    net = _net(BasicVSRNet, recorder)
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

    net = _net(BasicVSRNet, stale)
    a, b = torch.rand(2, 1, 8, 6, 5)
    for _ in range(3):
        got = net.step_graphs.run(net, sum_and_difference, a, b)
        assert torch.equal(got[0], a + b)
        assert torch.equal(got[1], a - b)


class Stream:
    """Stands for a CUDA stream; says what waits for what."""

    device = torch.device("cpu")

    def __init__(self, name, events):
        self.name, self.events = name, events

    def wait_stream(self, other):
        self.events.append(f"{self.name} waits for {other.name}")

    def record_event(self):
        return f"{self.name} after {self.events[-1].removeprefix(f'{self.name} ')}"

    def wait_event(self, event):
        self.events.append(f"{self.name} waits for {event}")


class OnPretendedCUDA(CUDAComponents):
    def _on_gpu(self, lrs):
        return True


@pytest.fixture
def events(monkeypatch):
    """What happens on two streams: waiting, and the steps that are queued."""
    events = []
    streams = [Stream("current", events)]

    @contextlib.contextmanager
    def stream(side):
        streams.append(side)
        yield
        streams.pop()

    def queued(name, step):
        @functools.wraps(step)
        def call(*args):
            events.append(f"{streams[-1].name} steps {name}")
            return step(*args)

        return call

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("side", events))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: streams[-1])
    monkeypatch.setattr(torch.cuda, "stream", stream)
    for net_class in (BasicVSRNet, IconVSRNet):
        for name in ("backward", "forward"):
            monkeypatch.setattr(net_class, f"{name}_step", queued(name, getattr(net_class, f"{name}_step")))
    for name, step in (("features", "refill_feature"), ("restores", "reconstruct")):
        monkeypatch.setattr(IconVSRNet, step, queued(name, getattr(IconVSRNet, step)))
    return events


AT_ONCE = ["side waits for current", "side steps forward", "current steps backward", "current waits for side"]
IN_TURN = ["current steps backward", "current steps forward"]


def _net_at_once(recorder, net_class=BasicVSRNet, **arguments):
    net = _net(net_class, recorder, **arguments)
    mix_in(net, OnPretendedCUDA)
    return net


@torch.no_grad()
def test_branches_run_on_two_streams_that_fork_and_join(recorder, events):
    net, plain = _net_at_once(recorder), _net(BasicVSRNet, recorder)
    lrs = _lrs(2)
    expected = plain(lrs)
    events.clear()
    assert torch.equal(net(lrs), expected)
    assert events == 2 * AT_ONCE


@torch.no_grad()
def test_both_branches_are_one_recording(recorder, events):
    net = _net_at_once(recorder)
    with steps_unrecorded(net):
        expected = net(_lrs(9))
    assert events == 9 * IN_TURN[:1] + 9 * IN_TURN[1:]
    for _ in range(3):
        assert torch.equal(net(_lrs(9)), expected)
    assert sorted(recorder.recorded) == ["_both_side_by_side", "_both_side_by_side", "reconstruct"]


@torch.no_grad()
def test_keyframe_features_and_reconstruction_go_beside_the_branches(recorder, events, monkeypatch):
    monkeypatch.setattr("vsr_plugin.inference.acceleration.cuda.graphs._MAX_GRAPHS", 0)
    net, plain = _net_at_once(recorder, IconVSRNet, keyframe_stride=2), _net(IconVSRNet, recorder, keyframe_stride=2)
    lrs = _lrs(3)
    expected = plain(lrs)
    events.clear()
    assert torch.equal(net(lrs), expected)
    assert events == [
        # Features of both keyframes, the last first, as the backward branch comes to them.
        "side waits for current",
        "side steps features",
        "side steps features",
        "current waits for side after steps features",
        "current steps backward",
        "current steps backward",
        "current waits for side after steps features",
        "current steps backward",
        "current waits for side after steps features",
        "current steps forward",
        "side waits for current",
        "side steps restores",
        # Each frame is waited for when the step after its own is queued.
        "current steps forward",
        "side waits for current",
        "side steps restores",
        "current waits for side after steps restores",
        "current waits for side after steps features",
        "current steps forward",
        "side waits for current",
        "side steps restores",
        "current waits for side after steps restores",
        "current waits for side after steps restores",
    ]


@torch.no_grad()
def test_what_is_beside_has_recordings_of_its_own(recorder, events):
    net = _net_at_once(recorder, IconVSRNet, keyframe_stride=3)
    expected = _net(IconVSRNet, recorder, keyframe_stride=3)(_lrs(9))
    for _ in range(3):
        assert torch.equal(net(_lrs(9)), expected)
    lanes = {kind[:2] for kind in net.step_graphs._recordings}
    assert {lane for lane, name in lanes if name in ("refill_feature", "reconstruct")} == {"beside"}
    assert {lane for lane, name in lanes if name in ("backward_step", "forward_step")} == {"main"}
    for _ in range(2):
        net.reconstruct(_lrs(1)[:, 0], None, torch.rand(1, 8, 20, 24))
    assert {kind[0] for kind in net.step_graphs._recordings if kind[1] == "reconstruct"} == {"beside", "main"}


@torch.no_grad()
def test_what_is_read_beside_lives_until_it_is_waited_for(recorder, events):
    net = _net_at_once(recorder, IconVSRNet)
    state = torch.rand(1, 8, 20, 24)
    alive = weakref.ref(state)
    result = net.begin_reconstruct(_lrs(1)[:, 0], None, state)
    del state
    assert alive() is not None
    result()
    del result
    assert alive() is None
    lrs = _lrs(5)
    alive = weakref.ref(lrs)
    feats = net.refill_features(lrs)
    del lrs
    assert alive() is not None
    del feats
    assert alive() is None


@torch.no_grad()
def test_a_sequence_after_one_that_was_left_early(recorder, events):
    net = _net_at_once(recorder, IconVSRNet, keyframe_stride=3)
    plain = _net(IconVSRNet, recorder, keyframe_stride=3)
    frames = net.restore_iter(_lrs(7))
    assert torch.equal(next(frames), next(plain.restore_iter(_lrs(7))))
    frames.close()
    for lrs in (_lrs(4), _lrs(6, 24, 20), _lrs(7)):
        assert torch.equal(net(lrs), plain(lrs))


@torch.no_grad()
def test_streams_join_after_an_error(recorder, events, monkeypatch):
    def failing(*args):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    net = _net_at_once(recorder)
    monkeypatch.setattr(BasicVSRNet, "backward_step", failing)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        net(_lrs(1))
    assert events[-1] == "current waits for side"


@torch.no_grad()
def test_tiles_and_large_frames_run_branches_in_turn(recorder, events, monkeypatch):
    net = _net_at_once(recorder)
    lrs = _lrs(1, 40, 40)
    inputs = (lrs[:, 0], None, None, None), (lrs[:, 0], None, None, None, None)
    tiled = tile_net(net, 28)
    tiled(lrs)
    tiled.both_steps(*inputs)
    assert events == 2 * IN_TURN
    monkeypatch.setattr("vsr_plugin.inference.acceleration.cuda.graphs._MAX_PIXELS", 40 * 40 - 1)
    net(lrs)
    net.both_steps(*inputs)
    assert events == 4 * IN_TURN
    monkeypatch.undo()


def test_with_gradients_and_on_other_devices_branches_run_in_turn(recorder):
    assert not _net_at_once(recorder).branches_at_once(_lrs(1))
    assert not _net_at_once(recorder, IconVSRNet).frames_under_way(_lrs(1))
    with torch.no_grad():
        assert _net_at_once(recorder).branches_at_once(_lrs(1))
        assert not _net(BasicVSRNet, recorder).branches_at_once(_lrs(1)), "frames are on the CPU"


def test_a_profile_tells_the_steps_apart(recorder, events):
    shares = profiling.profile(_net_at_once(recorder), _lrs(3), {}, repetitions=1)
    assert "propagation" in {share.component for share in shares}
    assert not [event for event in events if "side" in event]


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
