import pickle
import random
from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset

from vsr_plugin.data.sampling import ResumableSampler, SeededIndex, mixed_seed, seeded


def first(sampler: ResumableSampler, n: int) -> list[tuple[int, int]]:
    return [(int(draw), draw.seed) for draw in islice(sampler, n)]


def as_rank(sampler: ResumableSampler, rank: int, world_size: int, batch_size: int) -> ResumableSampler:
    sampler.rank, sampler.world_size = rank, world_size
    sampler.place(0, batch_size)
    return sampler


def test_every_pass_holds_every_item_once_in_a_new_order() -> None:
    indices = [index for index, _ in first(ResumableSampler(range(50), seed=3), 100)]
    assert sorted(indices[:50]) == sorted(indices[50:]) == list(range(50))
    assert indices[:50] != indices[50:]
    assert indices[:50] != list(range(50))


@pytest.mark.parametrize("iteration", [0, 1, 7, 40])
def test_a_resumed_run_goes_on_with_the_same_samples(iteration: int) -> None:
    whole = ResumableSampler(range(11), seed=5)
    whole.place(0, batch_size=3)
    resumed = ResumableSampler(range(11), seed=99)
    resumed.place(iteration, batch_size=3, seed=5)
    assert first(resumed, 30) == first(whole, 30 + 3 * iteration)[3 * iteration :]


def test_the_number_of_processes_does_not_change_a_batch() -> None:
    one = as_rank(ResumableSampler(range(13), seed=1), 0, 1, 8)
    four = [as_rank(ResumableSampler(range(13), seed=1), rank, 4, 2) for rank in range(4)]
    dealt = [first(sampler, 10) for sampler in four]
    batches = [[draw for part in dealt for draw in part[2 * i : 2 * i + 2]] for i in range(5)]
    assert [draw for batch in batches for draw in batch] == first(one, 40)


def test_seeds_differ_between_positions_and_runs() -> None:
    seeds = [seed for run in (0, 1) for _, seed in first(ResumableSampler(range(4), seed=run), 500)]
    assert len(set(seeds)) == 1000


def test_a_draw_is_an_index_and_travels_to_workers() -> None:
    draw = pickle.loads(pickle.dumps(SeededIndex(3, seed=17)))
    assert [10, 11, 12, 13][draw] == 13
    assert draw.seed == 17


def test_concatenated_data_sets_pass_the_seed_on() -> None:
    class Seeds(Dataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> tuple[int, int]:
            return int(index), index.seed

    assert ConcatDataset([Seeds(), Seeds()])[SeededIndex(4, seed=9)] == (1, 9)
    assert SeededIndex(7, seed=9) % 3 == 1
    assert (SeededIndex(7, seed=9) % 3).seed == 9


def test_seeded_seeds_all_generators_and_puts_them_back() -> None:
    def numbers() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    outside = [numbers(), numbers()]
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    before = numbers()
    with seeded(mixed_seed(1, 2)):
        inside = numbers()
    assert [before, numbers()] == outside
    with seeded(mixed_seed(1, 2)):
        assert numbers() == inside
    with seeded(mixed_seed(2, 1)):
        assert numbers() != inside
