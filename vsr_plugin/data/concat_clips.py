"""Several data sets as one."""

from collections.abc import Sequence

from torch.utils.data import ConcatDataset

from vsr_plugin.registry import DATASETS


@DATASETS.register_module()
class ConcatClips(ConcatDataset):
    """Data sets one after the other, such as the two folders that the official REDS training clips stand in.

    Args:
        datasets: their configs.
        times: how often each counts, so that a small one is seen more often; once by default.
    """

    #: Nothing beyond the items; mmengine's loops ask for it.
    metainfo: dict = {}  # noqa: RUF012

    def __init__(self, datasets: Sequence[dict], times: Sequence[int] | None = None):
        built = [DATASETS.build(dataset) for dataset in datasets]
        counts = [1] * len(built) if times is None else times
        super().__init__([dataset for dataset, count in zip(built, counts, strict=True) for _ in range(count)])
