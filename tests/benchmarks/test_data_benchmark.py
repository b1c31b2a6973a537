"""The benchmark of loading: every implementation gives the same kind of sample, ours the same from every storage."""

import json

import pytest
import torch

from vsr_plugin.benchmarks import data
from vsr_plugin.benchmarks.machine import as_json
from vsr_plugin.data.sampling import seeded

WORKLOAD = data.Workload(clips=2, clip_frames=6, size=(64, 96), frames=5, gt_size=32)


@pytest.fixture(scope="module")
def folder(real_clip, tmp_path_factory):
    real_clip("bigbuckbunny")
    path = tmp_path_factory.mktemp("data")
    data.make_data(path, WORKLOAD)
    return path


def load(folder, implementation, seed):
    with seeded(seed):
        return data.build(implementation, folder, WORKLOAD)[seed % 2]


@pytest.mark.parametrize("implementation", data.IMPLEMENTATIONS)
def test_samples(folder, implementation):
    sample = load(folder, implementation, 0)
    assert sample["inputs"].shape == (5, 3, 8, 8)
    assert sample["data_samples"].gt_img.shape == (5, 3, 32, 32)
    assert sample["inputs"].dtype == sample["data_samples"].gt_img.dtype == torch.uint8


@pytest.mark.parametrize("seed", range(4))
def test_storage_does_not_change_the_sample(folder, seed):
    expected = load(folder, "png", seed)
    for implementation in ("packed", "packed-BI"):
        sample = load(folder, implementation, seed)
        torch.testing.assert_close(sample["inputs"], expected["inputs"], rtol=0, atol=0)
        torch.testing.assert_close(sample["data_samples"].gt_img, expected["data_samples"].gt_img, rtol=0, atol=0)


def test_results(folder):
    lines = []
    results = data.measure(["mmagic", "packed"], folder, WORKLOAD, dict(warm=2, cold=1), lines.append)
    assert [(r.implementation, r.cache, len(r.seconds)) for r in results] == [
        ("mmagic", "warm", 2),
        ("packed", "warm", 2),
        ("mmagic", "cold", 1),
        ("packed", "cold", 1),
    ]
    assert len(lines) == 3
    assert all(min(r.seconds) > 0 for r in results)
    rows = data.table(results).splitlines()
    assert rows[2].startswith("| warm | MMagic's pipeline, PNG files |")
    assert float(rows[3].split("|")[5]) == pytest.approx(results[0].median / results[1].median, abs=0.06)
    written = json.loads(as_json(results, {}, WORKLOAD, "so"))
    assert written["setting"]["gt_size"] == 32
    assert written["results"][1]["median"] == results[1].median
