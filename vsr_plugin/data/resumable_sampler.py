"""An endless sampler that can start anywhere in the run."""

from collections.abc import Iterator, Sized

import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from vsr_plugin.data.seeding import SeededIndex, mixed_seed
from vsr_plugin.registry import DATA_SAMPLERS


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
