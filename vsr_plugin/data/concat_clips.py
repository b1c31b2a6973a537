"""Several data sets as one."""

from collections.abc import Sequence

from torch.utils.data import ConcatDataset

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
