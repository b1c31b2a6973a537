"""The measurement of a cluster's use: its lengths, and that it runs."""

import pytest

pytest.importorskip("ray")

from vsr_plugin.benchmarks.cluster import ClusterUse, film_lengths


def test_a_film_has_many_short_shots_and_a_few_long_ones():
    lengths = sorted(film_lengths(2000, 0.3))
    assert sum(lengths) == pytest.approx(600)
    assert lengths[1000] < 0.2  # half of them are shorter than two thirds of the mean
    assert sum(lengths[-100:]) > 0.2 * 600  # one in twenty makes a fifth of the film
    assert film_lengths(2000, 0.3) == film_lengths(2000, 0.3)


def test_efficiency_is_what_could_not_have_been_faster():
    assert ClusterUse("", "", 8, least=8.0, seconds=10.0, sent=0).efficiency == 0.8


@pytest.mark.cluster
def test_the_command_measures(run_tool):
    small = ["--workers", 1, 2, "--tasks", 4, "--seconds", 0.1, "--shots", 5, "--shot-seconds", 0.1, "--back", "100K"]
    status, out, err = run_tool("benchmark", "cluster", *small)
    assert status == 0, err
    rows = [line.split("|")[1:-1] for line in out.splitlines() if line.startswith("|")][2:]
    assert [int(row[2]) for row in rows] == [1, 2, 2, 2, 2]
    assert all(0 < float(row[4]) <= 1 for row in rows[:4])
    assert float(rows[4][5]) > 0
