"""Randomness of training samples that depends on the sample's position in the run and on nothing else."""

import contextlib
import hashlib
import random
from collections.abc import Iterator

import numpy as np
import torch


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
