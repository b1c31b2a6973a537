"""What runs beside what on a GPU, and what waits for what; two pretended streams say what is queued on them."""

import contextlib
import functools
import weakref

import pytest
import torch
from branch_steps import replace_steps
from pretended_recording import lrs_of, recorded_net

from vsr_plugin.acceleration.cuda.components import CUDAComponents
from vsr_plugin.acceleration.cuda.graphs import steps_unrecorded
from vsr_plugin.benchmarks import profiling
from vsr_plugin.inference.tiling import tile_net
from vsr_plugin.models import BasicVSRNet, IconVSRNet
from vsr_plugin.models.driver import StepInputs
from vsr_plugin.models.vsr_net import VSRNet


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
    plain = VSRNet.step
    monkeypatch.setattr(VSRNet, "step", lambda net, sweep, of: queued(sweep.name, plain)(net, sweep, of))
    for name, step in (("features", "frame_feature"), ("restores", "reconstruct")):
        monkeypatch.setattr(IconVSRNet, step, queued(name, getattr(IconVSRNet, step)))
    return events


AT_ONCE = ["side waits for current", "side steps forward", "current steps backward", "current waits for side"]
IN_TURN = ["current steps backward", "current steps forward"]


def _net_at_once(recorder, net_class=BasicVSRNet, **arguments):
    return recorded_net(net_class, recorder, OnPretendedCUDA, **arguments)


@torch.no_grad()
def test_branches_run_on_two_streams_that_fork_and_join(recorder, events):
    net, plain = _net_at_once(recorder), recorded_net(BasicVSRNet, recorder)
    lrs = lrs_of(2)
    expected = plain(lrs)
    events.clear()
    assert torch.equal(net(lrs), expected)
    # Both branches to their end, then the frames beside each other, as whole videos are restored.
    assert events[:8] == 2 * AT_ONCE
    assert events[8:10] == 2 * ["side waits for current"]
    assert [event.startswith("current waits for side") for event in events[10:]] == [True, True]


@torch.no_grad()
def test_both_branches_are_one_recording(recorder, events):
    net = _net_at_once(recorder)
    with steps_unrecorded(net):
        expected = net(lrs_of(9))
    assert events == 9 * IN_TURN[:1] + 9 * IN_TURN[1:]
    for _ in range(3):
        assert torch.equal(net(lrs_of(9)), expected)
    assert sorted(recorder.recorded) == ["backward_and_forward_step", "backward_and_forward_step", "reconstruct"]


@torch.no_grad()
def test_keyframe_features_and_reconstruction_go_beside_the_branches(recorder, events, monkeypatch):
    monkeypatch.setattr("vsr_plugin.acceleration.cuda.graphs._MAX_GRAPHS", 0)
    net, plain = (
        _net_at_once(recorder, IconVSRNet, keyframe_stride=2),
        recorded_net(IconVSRNet, recorder, keyframe_stride=2),
    )
    lrs = lrs_of(3)
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
    expected = recorded_net(IconVSRNet, recorder, keyframe_stride=3)(lrs_of(9))
    for _ in range(3):
        assert torch.equal(net(lrs_of(9)), expected)
    lanes = {kind[:2] for kind in net.step_graphs._recordings}
    assert {lane for lane, name in lanes if name in ("frame_feature", "reconstruct")} == {"beside"}
    assert {lane for lane, name in lanes if name in ("backward_step", "forward_step")} == {"main"}
    for _ in range(2):
        net.reconstruct(lrs_of(1)[:, 0], torch.rand(1, 8, 20, 24))
    assert {kind[0] for kind in net.step_graphs._recordings if kind[1] == "reconstruct"} == {"beside", "main"}


@torch.no_grad()
def test_what_is_read_beside_lives_until_it_is_waited_for(recorder, events):
    net = _net_at_once(recorder, IconVSRNet)
    state = torch.rand(1, 8, 20, 24)
    alive = weakref.ref(state)
    result = net.begin_reconstruct(lrs_of(1)[:, 0], state)
    del state
    assert alive() is not None
    result()
    del result
    assert alive() is None
    lrs = lrs_of(5)
    alive = weakref.ref(lrs)
    feats = net.frame_features(lrs)
    del lrs
    assert alive() is not None
    del feats
    assert alive() is None


@torch.no_grad()
def test_a_sequence_after_one_that_was_left_early(recorder, events):
    net = _net_at_once(recorder, IconVSRNet, keyframe_stride=3)
    plain = recorded_net(IconVSRNet, recorder, keyframe_stride=3)
    frames = net.restore_iter(lrs_of(7))
    assert torch.equal(next(frames), next(plain.restore_iter(lrs_of(7))))
    frames.close()
    for lrs in (lrs_of(4), lrs_of(6, 24, 20), lrs_of(7)):
        assert torch.equal(net(lrs), plain(lrs))


@torch.no_grad()
def test_streams_join_after_an_error(recorder, events, monkeypatch):
    def failing(*args):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    net = _net_at_once(recorder)
    replace_steps(monkeypatch, BasicVSRNet, "backward", failing)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        net(lrs_of(1))
    assert events[-1] == "current waits for side"


@torch.no_grad()
def test_tiles_and_large_frames_run_branches_in_turn(recorder, events, monkeypatch):
    net = _net_at_once(recorder)
    lrs = lrs_of(1, 40, 40)
    inputs = net.propagation.sweeps, 2 * [StepInputs(lrs[:, 0], (None,), (None,), (), None)]
    tiled = tile_net(net, 28)
    tiled(lrs)
    tiled.steps(*inputs)
    assert events == 2 * IN_TURN
    monkeypatch.setattr("vsr_plugin.acceleration.cuda.graphs._MAX_PIXELS", 40 * 40 - 1)
    net(lrs)
    net.steps(*inputs)
    assert events == 4 * IN_TURN
    monkeypatch.undo()


def test_with_gradients_and_on_other_devices_branches_run_in_turn(recorder):
    assert not _net_at_once(recorder).branches_at_once(lrs_of(1))
    assert not _net_at_once(recorder, IconVSRNet).lookahead(lrs_of(1))
    with torch.no_grad():
        assert _net_at_once(recorder).branches_at_once(lrs_of(1))
        assert not recorded_net(BasicVSRNet, recorder).branches_at_once(lrs_of(1)), "frames are on the CPU"


def test_a_profile_tells_the_steps_apart(recorder, events):
    shares = profiling.profile(_net_at_once(recorder), lrs_of(3), {}, repetitions=1)
    assert "propagation" in {share.component for share in shares}
    assert not [event for event in events if "side" in event]
