import numpy as np
import pytest
import torch
from branch_steps import replace_steps

from vsr_plugin.acceleration import accelerate
from vsr_plugin.errors import VSRError
from vsr_plugin.inference import restore_frames
from vsr_plugin.inference.engine import restore_piece
from vsr_plugin.inference.planning import MemoryModel, Plan, free_memory, make_plan
from vsr_plugin.inference.sequence import restore_sequence
from vsr_plugin.inference.storage import FrameStore, MemoryCache
from vsr_plugin.models import BasicVSRNet
from vsr_plugin.settings import memory_size


def random_clip(t: int, h: int = 8, w: int = 10) -> list[torch.Tensor]:
    return list(torch.rand(t, 3, h, w, generator=torch.Generator().manual_seed(t)))


def whole(net, clip):
    with torch.no_grad():
        return net(torch.stack(clip)[None])[0].clamp(0, 1)


@pytest.mark.parametrize("strategy", ["auto", "whole", "exact"])
def test_strategies_give_the_same_result(either_net, strategy, tmp_path):
    clip = random_clip(40)
    restored = list(restore_frames(either_net, iter(clip), strategy=strategy, work_dir=str(tmp_path)))
    torch.testing.assert_close(torch.stack(restored), whole(either_net, clip), atol=1e-5, rtol=0)
    assert list(tmp_path.iterdir()) == []


def test_a_caller_who_stops_early_leaves_nothing(small_net, tmp_path):
    frames = restore_frames(small_net, iter(random_clip(40)), strategy="exact", work_dir=str(tmp_path))
    next(frames)
    assert list(tmp_path.iterdir())
    frames.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_frames_on_disk_are_the_frames(tmp_path, dtype):
    rng = np.random.default_rng(0)
    clip = [rng.integers(0, np.iinfo(dtype).max, (4, 5, 3), dtype, endpoint=True) for _ in range(9)]
    store = FrameStore(tmp_path, max_in_memory=4)
    for frame in clip:
        store.append(frame)
    assert (tmp_path / "frames.bin").stat().st_size == sum(frame.nbytes for frame in clip)
    for number, frame in enumerate(clip):
        assert store[number].dtype == dtype
        assert np.array_equal(store[number], frame)
    with pytest.raises(ValueError, match="one kind and size"):
        store.append(np.zeros((4, 6, 3), dtype))
    store.close()


class Fails:
    """A net that runs out of memory a number of times, at a number of steps."""

    def __init__(self, net, monkeypatch, times, at, error):
        self.left, self.at, self.steps, self.error = times, at, 0, error
        replace_steps(monkeypatch, net, "forward", self)

    def __call__(self, plain, *args):
        self.steps += 1
        if self.left and self.steps == self.at:
            self.left, self.steps = self.left - 1, 0
            raise self.error
        return plain(*args)


CPU_ERROR = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")


@pytest.mark.parametrize("error", [CPU_ERROR, MemoryError(), torch.cuda.OutOfMemoryError("CUDA out of memory")])
def test_steps_down_when_memory_runs_out_and_goes_on(small_net, monkeypatch, tmp_path, error):
    clip = random_clip(12, 40, 40)
    expected = whole(small_net, clip)
    Fails(small_net, monkeypatch, times=3, at=3, error=error)
    notes, plan = [], Plan("whole", 12)
    restored = dict(restore_sequence(small_net, clip, plan, folder=tmp_path, on_note=notes.append))
    assert [note.split('"')[3] for note in notes] == [
        "exact, 4 frames at a time",
        "exact, 4 frames at a time, in tiles of 512",
        "exact, 4 frames at a time, in tiles of 256",
    ]
    out = torch.stack([restored[i] for i in range(12)]).clamp(0, 1)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("frames", "blocks"), [(3, [4]), (12, [4]), (60, [15, 4]), (1000, [32, 8, 4])])
def test_every_step_down_needs_less(frames, blocks):
    plan, steps = Plan("whole", frames), []
    while (plan := plan.smaller()).tile is None:
        steps.append(plan.block)
    assert steps == blocks


def test_gives_up_with_one_line(small_net, monkeypatch, tmp_path):
    Fails(small_net, monkeypatch, times=99, at=1, error=CPU_ERROR)
    with pytest.raises(VSRError, match="out of memory with the smallest plan"):
        list(restore_sequence(small_net, random_clip(3), Plan("whole", 3), folder=tmp_path))


def test_other_errors_pass(small_net, monkeypatch, tmp_path):
    Fails(small_net, monkeypatch, times=1, at=1, error=RuntimeError("something else"))
    with pytest.raises(RuntimeError, match="something else"):
        list(restore_sequence(small_net, random_clip(3), Plan("whole", 3), folder=tmp_path))


@pytest.mark.parametrize("strategy", ["whole", "exact"])
def test_a_later_process_goes_on(either_net, tmp_path, strategy):
    clip = random_clip(10)
    plan = Plan(strategy, 10 if strategy == "whole" else 4)
    run = dict(folder=tmp_path, persistent=True)
    first = restore_sequence(either_net, clip, plan, **run)
    done = [hr for _, hr in (next(first) for _ in range(5))]
    first.close()
    steps = []
    rest = list(restore_sequence(either_net, clip, plan, first_frame=4, on_step=steps.append, **run))
    assert [i for i, _ in rest] == list(range(4, 10))
    assert torch.equal(torch.stack(done[:4] + [hr for _, hr in rest]).clamp(0, 1), whole(either_net, clip))
    if strategy == "exact":
        assert steps == list(range(4, 10))


def model(net, h=180, w=320):
    return MemoryModel(net, h, w)


GROUP_2 = {
    "proc/self/cgroup": "0::/box/inner\n",
    "sys/fs/cgroup/box/memory.max": "3000000\n",
    "sys/fs/cgroup/box/memory.current": "2000000\n",
    "sys/fs/cgroup/box/memory.stat": "anon 1500000\ninactive_file 400000\nactive_file 100000\n",
    "sys/fs/cgroup/box/inner/memory.max": "max\n",
    "sys/fs/cgroup/box/inner/memory.current": "1900000\n",
    "sys/fs/cgroup/box/inner/memory.stat": "anon 1500000\ninactive_file 400000\n",
}
#: Of a container that sees its own group as the root, and has a path from outside.
GROUP_1 = {
    "proc/self/cgroup": "5:cpu,cpuacct:/docker/1f\n4:memory:/docker/1f\n1:name=systemd:/docker/1f\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "3000000\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "2000000\n",
    "sys/fs/cgroup/memory/memory.stat": "inactive_file 4096\ntotal_inactive_file 400000\n",
}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 2048000),
        (GROUP_2, 1400000),
        (GROUP_2 | {"sys/fs/cgroup/box/memory.max": "max\n"}, 2048000),
        (GROUP_2 | {"sys/fs/cgroup/box/memory.max": "4000000\n"}, 2048000),
        (GROUP_2 | {"sys/fs/cgroup/box/inner/memory.max": "2200000\n"}, 700000),
        (GROUP_2 | {"sys/fs/cgroup/box/memory.max": "1000000\n"}, 0),
        (GROUP_1, 1400000),
        (GROUP_1 | {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 2048000),
    ],
)
def test_a_container_has_no_more_than_its_limit(tmp_path, files, expected):
    for name, text in {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:   2000 kB\n", **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert free_memory(torch.device("cpu"), tmp_path) == expected


def test_auto_takes_whole_where_it_fits(small_net):
    assert make_plan(model(small_net), 4 * 2**30, num_frames=20).strategy == "whole"
    assert make_plan(model(small_net), 4 * 2**30, num_frames=10**6).strategy == "exact"
    assert make_plan(model(small_net), 4 * 2**30, num_frames=None).strategy == "exact"


def test_whole_that_does_not_fit_is_exact(small_net):
    plan = make_plan(model(small_net), 4 * 2**30, num_frames=10**6, strategy="whole")
    assert plan == make_plan(model(small_net), 4 * 2**30, num_frames=10**6, strategy="exact")


def test_windows_do_not_depend_on_the_budget(small_net):
    least = model(small_net).working(None) + model(small_net).per_frame
    plans = [make_plan(model(small_net), budget, num_frames=None, strategy="window") for budget in (least, 2**40)]
    assert [(plan.block, plan.overlap) for plan in plans] == [(90, 15)] * 2


def test_tiles_where_a_frame_does_not_fit(small_net):
    big = model(small_net, 2160, 3840)
    assert make_plan(big, 200 * 2**30, num_frames=5).tile is None
    tight = make_plan(big, big.working(256) + 4 * big.per_frame, num_frames=5)
    assert tight.tile == 256


def test_two_states_a_frame_where_branches_run_at_once(small_net, monkeypatch):
    coupled = BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4, propagation="coupled")
    nets = small_net, coupled
    one, apart = (model(net).per_frame for net in nets)
    assert one == apart
    monkeypatch.setattr("vsr_plugin.inference.planning.records_steps", lambda device, pixels: pixels < 10**5)
    two, apart = (model(net).per_frame for net in nets)
    assert two - one == small_net.state_channels * 4 * 180 * 320
    assert apart == one
    assert model(small_net).working(None) > model(coupled).working(None)
    # Kernels of large frames fill a GPU by themselves.
    assert len({model(net, 360, 640).per_frame for net in nets}) == 1
    budget = model(small_net).working(None) + 20 * one
    assert [make_plan(model(net), budget, num_frames=20).strategy for net in nets] == ["exact", "whole"]


@pytest.mark.parametrize("alignment", ["image", "feature"])
def test_states_of_half_precision_are_counted_as_they_are(alignment):
    net = BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4, alignment=alignment).eval()
    try:
        fast = accelerate(net, precision="bf16")
    except VSRError as error:
        pytest.skip(str(error))
    cache = MemoryCache()
    next(restore_piece(fast, random_clip(3), block=3, cache=cache))
    state = cache.take("backward", 2, torch.device("cpu"))
    plain, half = (MemoryModel(net, 8, 10, size).per_frame for size in (4, 2))
    assert plain - half == 80 * 4 * net.state_channels - state.numel() * state.element_size()


def test_a_budget_too_small_for_one_frame(small_net):
    with pytest.raises(
        VSRError, match=r"memory budget of 10 MiB is too small for frames of 320x180; give at least \d+"
    ):
        make_plan(model(small_net), 10 * 2**20, num_frames=5)


def test_an_unknown_strategy(small_net):
    with pytest.raises(VSRError, match="strategy 'fast' does not exist; choose one of auto, whole, exact, window"):
        make_plan(model(small_net), 2**33, num_frames=5, strategy="fast")


@pytest.mark.parametrize(
    ("text", "size"), [("8G", 8 * 2**30), ("500m", 500 * 2**20), ("1.5GiB", 3 * 2**29), ("4096", 4096)]
)
def test_sizes(text, size):
    assert memory_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "0", "lots", "inf", "nan", "1e30G"])
def test_no_sizes(text):
    with pytest.raises(ValueError):  # noqa: PT011
        memory_size(text)
