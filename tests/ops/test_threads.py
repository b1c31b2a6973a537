"""As many threads as cores are free, unless somebody says how many."""

import pytest
import torch

from vsr_plugin.ops import device
from vsr_plugin.ops.device import FreeCores, take_free_threads


@pytest.fixture(autouse=True)
def four_threads(monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("free", "taken"), [(4.0, 4), (3.3, 4), (2.9, 3), (2.4, 2), (1.2, 1), (0.0, 1), (None, 4)])
def test_as_many_as_are_free(free, taken):
    line = take_free_threads(free)
    assert torch.get_num_threads() == taken
    assert (line is None) == (taken == 4)
    assert line is None or f"{taken} of 4 threads" in line


def test_what_a_person_chose_stays(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert take_free_threads(1.0) is None
    assert torch.get_num_threads() == 4


def test_cores_on_which_others_work_are_not_free(tmp_path, monkeypatch):
    """Two cores, 10 s: one idle for 9 s, one for 2 s, of which this process has had 4 s of the rest."""
    clocks = iter([(100.0, 1.0), (110.0, 5.0)])

    def tick(idle: tuple[int, int]) -> None:
        lines = [f"cpu{i} 0 0 0 {ticks} 0 0" for i, ticks in enumerate((*idle, 0))]
        (tmp_path / "stat").write_text("\n".join(["cpu 9 9 9 9 9 9", *lines, "intr 5"]))
        now, own = next(clocks)
        monkeypatch.setattr(device.time, "monotonic", lambda: now)
        monkeypatch.setattr(device.time, "process_time", lambda: own)

    monkeypatch.setattr(device, "_STAT", tmp_path / "stat")
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    tick((1000, 5000))
    cores = FreeCores()
    tick((1900, 5200))
    assert cores.count() == pytest.approx((9 + 2 + 4) / 10)


def test_where_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "_STAT", tmp_path / "absent")
    assert FreeCores().count() is None
