"""The benchmark of a training step: its arithmetic, and one run of its processes at a tiny size."""

import dataclasses
import json

import pytest

from vsr_plugin.benchmarks import training
from vsr_plugin.benchmarks.machine import as_json
from vsr_plugin.benchmarks.training import Result, TrainSetting
from vsr_plugin.errors import VSRError

TINY = TrainSetting(threads=1, frames=3, patch=8, mid_channels=4, num_blocks=1)


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]


def test_table_compares_with_the_first_implementation():
    theirs = Result("mmagic", [4.0, 3.0, 8.0], [6.0, 6.0, 6.0], memory_mb=2000, losses=[0.5, 0.4])
    ours = Result("bf16+cp", [2.0, 2.0, 1.0], [3.0, 2.0, 4.0], memory_mb=500, losses=[0.5, 0.404])
    rows = cells(training.table([theirs, ours]))
    assert len({len(row) for row in rows}) == 1
    assert rows[2][1:4] == ["4.000", "3.000 to 8.000", "1.00"]
    assert rows[3][1:] == ["2.000", "1.000 to 2.000", "2.00", "2.000", "3.00", "500", "25%", "0.500000", "1.0e-02"]


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("basicvsr", ["mmagic", "fp32+cp"]),
        pytest.param("basicvsr", ["mmagic", "fp32+cp", "bf16"], marks=pytest.mark.slow),
        pytest.param("iconvsr", ["mmagic", "fp32+cp"], marks=pytest.mark.slow),
    ],
)
def test_all_implementations_train_alike(model, names, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    setting = dataclasses.replace(TINY, model=model)
    if model == "iconvsr":  # MMagic's has no other width, and the neighbours of its keyframes take five frames
        setting = dataclasses.replace(setting, mid_channels=64, frames=5)
    lines = []
    theirs, *ours = training.measure(names, setting, 2, lines.append)
    assert [line.split(":")[0] for line in lines[len(names) :]] == [f"{name} {k}/2" for k in (1, 2) for name in names]
    assert len(theirs.losses) == 3
    assert theirs.losses[0] > theirs.losses[-1]
    assert ours[0].losses == pytest.approx(theirs.losses, rel=1e-4)
    assert ours[-1].losses == pytest.approx(theirs.losses, rel=2e-2)
    document = json.loads(as_json([theirs, *ours], {}, setting, training.protocol(setting, 2)))
    assert document["results"][0]["implementation"] == "mmagic"
    assert document["setting"]["frames"] == setting.frames
    assert "run in turn" in document["protocol"]


def test_a_process_that_ends_is_named():
    with pytest.raises(VSRError, match="the process that runs 'fp32' ended"):
        training.measure(["fp32"], TrainSetting(num_blocks=-1, mid_channels=-1), 1)


def test_an_implementation_that_cannot_be_built_says_why():
    with pytest.raises(VSRError, match="MMagic's IconVSRNet works with 64 channels only"):
        training.measure(["mmagic"], dataclasses.replace(TINY, model="iconvsr"), 1)
