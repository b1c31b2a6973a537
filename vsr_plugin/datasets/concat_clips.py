"""Several data sets as one."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from torch.utils.data import ConcatDataset

from vsr_plugin.datasets.draws import Draw
from vsr_plugin.registry import DATASETS


@DATASETS.register_module()
class ConcatClips(ConcatDataset):
    """Data sets one after the other, such as the two folders that the official REDS training clips stand in.

    Args:
        datasets: their configs.
    """

    #: Nothing beyond the items; mmengine's loops ask for it.
    metainfo: dict = {}  # noqa: RUF012

    def __init__(self, datasets: Sequence[dict]):
        super().__init__([DATASETS.build(dataset) for dataset in datasets])

    def __getitem__(self, index: int) -> Any:
        """Return an item of the data set that ``index`` falls into."""
        which = bisect_right(self.cumulative_sizes, index)
        local = index - (self.cumulative_sizes[which - 1] if which else 0)
        # The difference is a plain number; the sample's randomness must not get lost with it.
        return self.datasets[which][Draw(local, index.seed) if isinstance(index, Draw) else local]
