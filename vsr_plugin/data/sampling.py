"""Training samples by their position in the run, on which alone their randomness depends: any one can be the first."""

import contextlib
import hashlib
import random
from collections.abc import Iterator, Sized

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from vsr_plugin.registry import DATA_SAMPLERS


class SeededIndex(int):
    """An index into a data set, with the seed of everything that is drawn at random for this sample.

    It is an ``int``, so a data set that knows nothing of it works as usual; a data set that subtracts an offset or
    takes a remainder, as concatenated and repeated ones do, passes the seed on.

    Args:
        index: which item.
        seed: see :func:`seeded`.
    """

    seed: int

    def __new__(cls, index: int, seed: int) -> "SeededIndex":
        made = super().__new__(cls, index)
        made.seed = seed
        return made

    def __sub__(self, offset: int) -> "SeededIndex":
        return SeededIndex(int(self) - offset, self.seed)

    def __mod__(self, length: int) -> "SeededIndex":
        return SeededIndex(int(self) % length, self.seed)

    def __reduce__(self) -> tuple:
        return SeededIndex, (int(self), self.seed)


def mixed_seed(*numbers: int) -> int:
    """One seed below 2**32 from several numbers; neighbouring numbers give unrelated seeds."""
    digest = hashlib.blake2b(",".join(map(str, numbers)).encode(), digest_size=4)
    return int.from_bytes(digest.digest(), "little")


def seed_everything(seed: int) -> None:
    """Seed ``random``, numpy and PyTorch (all devices)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, ``random``, numpy and PyTorch's CPU generator start from ``seed``; afterwards they are as before.

    So transforms that draw from the global generators, as MMagic's do, give the same sample whichever worker
    makes it and whatever it made before.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@DATA_SAMPLERS.register_module()
class ResumableSampler(Sampler[SeededIndex]):
    """Items in random order for ever, each pass over the data set in a new order.

    The sample at position ``p`` of a run, its index and the seed of its augmentation, is a function of ``p`` and
    the run's seed alone. Positions are dealt out to the processes in blocks of a batch. So a resumed run goes on with
    the samples that the interrupted one would have had, without loading those before; and the number of workers
    and, at the same total batch, of processes does not change what an iteration sees.

    Args:
        dataset: anything with a length.
        seed: of the run; by default a random one that all processes share.
        shuffle: whether a pass is in random order.

    Example:
        >>> sampler = ResumableSampler(range(3), seed=0)
        >>> sampler.place(iteration=1000, batch_size=2)
        >>> index = next(iter(sampler))  # what iteration 1000 has first
    """

    def __init__(self, dataset: Sized, seed: int | None = None, shuffle: bool = True):
        self.rank, self.world_size = get_dist_info()
        self.length = len(dataset)
        self.seed = sync_random_seed() if seed is None else seed
        self.shuffle = shuffle
        self._iteration, self._batch_size = 0, 1

    def place(self, iteration: int, batch_size: int, seed: int | None = None) -> None:
        """Let the next iterator start at an iteration of the run.

        Args:
            iteration: batches that every process has had before.
            batch_size: samples of a batch in each process.
            seed: replaces the seed, that of the interrupted run.
        """
        self._iteration, self._batch_size = iteration, batch_size
        if seed is not None:
            self.seed = seed

    def __iter__(self) -> Iterator[SeededIndex]:
        n, b = self.length, self._batch_size
        iteration, order, order_of = self._iteration, None, None
        while True:
            begin = (iteration * self.world_size + self.rank) * b
            for position in range(begin, begin + b):
                turn, place = divmod(position, n)
                if turn != order_of:
                    order, order_of = self._order(turn), turn
                yield SeededIndex(order[place], mixed_seed(self.seed, position))
            iteration += 1

    def _order(self, turn: int) -> list[int]:
        if not self.shuffle:
            return list(range(self.length))
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, turn, 1))
        return torch.randperm(self.length, generator=generator).tolist()

    def __len__(self) -> int:
        """Length of the data set, as mmengine's own endless sampler says."""
        return self.length

    def set_epoch(self, epoch: int) -> None:
        """Nothing: a run is one long epoch."""
