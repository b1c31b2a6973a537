"""Clips of any kind as samples for training, or whole for evaluation; several data sets as one."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from mmengine.dataset import Compose
from mmengine.logging import print_log
from torch.utils.data import ConcatDataset, Dataset

from vsr_plugin.data.clip_pair import ClipPair, find_pairs
from vsr_plugin.data.clips import Places, VideoClip, Window, first_there
from vsr_plugin.data.degradations import BY_PIPELINE, DEGRADATIONS
from vsr_plugin.data.sampling import seeded
from vsr_plugin.errors import DataError
from vsr_plugin.registry import DATASETS, TRANSFORMS

# Of larger sets only as many clips, evenly spread, are opened at the start; every clip is checked when first read.
_CHECKED_AT_START = 2000


@DATASETS.register_module()
class ClipDataset(Dataset):
    """Pairs of LR and ground-truth sequences from folders of images, videos or packed clips.

    An item is what the pipeline makes of ``dict(img=[LR frames], gt=[GT frames], key=name of the clip, frames=[their
    numbers], img_channel_order='RGB', gt_channel_order='RGB')``, frames being uint8 arrays ``(h, w, 3)``. All
    randomness comes from Python's and numpy's global generators; an index that is a :class:`~.sampling.SeededIndex`
    seeds them, so that the sample depends on nothing else.

    What is wrong with the data is said when the data set is made, not in the middle of a run. Of several places that
    are given for one folder or file, as published sets are unpacked in several ways, the first that exists is taken.

    Args:
        gt_root: ground truth: a folder of clips at any depth, or one clip; see :func:`~.clips.find_clips`.
        lq_root: LR frames under the same names. Where it is None or absent, they are made by ``degradation``.
        ann_file: which clips, in which order; see :func:`~.clips.read_clip_names`. All by default.
        include: names or patterns (``'00081/*'``) of clips to take only.
        exclude: names or patterns of clips to leave out.
        degradation: ``'BI'`` or ``'BD'``; or ``'pipeline'``: samples have no ``img``, which a transform makes, such
            as :class:`~.transforms.DegradeFootage`.
        num_input_frames: length of a sample, from a random start; None for whole clips.
        gt_size: side of the random square crop, in GT pixels; None for whole frames.
        interval: distance of a sample's frames.
        scale: sides of GT over sides of LR.
        pipeline: transforms, configs or callables.

    Raises:
        DataError: there is nothing to take, or something is missing, damaged or does not fit together.
    """

    def __init__(
        self,
        *,
        gt_root: Places,
        lq_root: Places | None = None,
        ann_file: Places | None = None,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        degradation: str | None = None,
        num_input_frames: int | None = None,
        gt_size: int | None = None,
        interval: int = 1,
        scale: int = 4,
        pipeline: Sequence[dict | Callable] = (),
    ) -> None:
        known = (*DEGRADATIONS, BY_PIPELINE)
        if degradation is not None and degradation not in known:
            raise DataError(f"degradation must be one of {', '.join(known)}, got {degradation!r}")
        if gt_size is not None and (gt_size < scale or gt_size % scale):
            raise DataError(f"gt_size must be a multiple of the scale {scale}, got {gt_size}")
        self.gt_root, self.lq_root, ann_file = map(first_there, (gt_root, lq_root, ann_file))
        self.degradation, self.scale = degradation, scale
        self.num_input_frames, self.gt_size, self.interval = num_input_frames, gt_size, interval
        #: Before the names of clips in samples, where another data set has clips of the same names.
        self.key_prefix = ""
        which = dict(ann_file=ann_file, include=include, exclude=exclude)
        pairs = find_pairs(self.gt_root, self.lq_root, **which, degradation=degradation, scale=scale)
        self.pairs = self._check(self._leave_out_short(pairs))
        self.pipeline = Compose([TRANSFORMS.build(t) if isinstance(t, dict) else t for t in pipeline])

    @property
    def metainfo(self) -> dict:
        """What mmengine hands to evaluators and visualizers."""
        return dict(gt_root=str(self.gt_root), degradation=self.degradation, scale=self.scale)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict:
        """Read a sample and run the pipeline.

        Raises:
            DataError: a frame is damaged.
        """
        seed = getattr(index, "seed", None)
        with contextlib.nullcontext() if seed is None else seeded(seed):
            pair = self.pairs[index]
            pair.check()
            if self._is_small(pair):
                raise self._too_small(pair)
            frames, window = self._draw_frames(pair), self._draw_window(pair)
            lrs, gts = pair.read(frames, window)
            images = dict(gt=list(gts)) if lrs is None else dict(img=list(lrs), gt=list(gts))
            sample = dict(images, key=self.key_prefix + pair.name, frames=frames)
            return self.pipeline(dict(sample, img_channel_order="RGB", gt_channel_order="RGB"))

    @property
    def _span(self) -> int:
        """Frames from the first to the last of a sample."""
        return 1 + (self.num_input_frames - 1) * self.interval

    def _draw_frames(self, pair: ClipPair) -> list[int]:
        if self.num_input_frames is None:
            return list(range(0, pair.num_frames, self.interval))
        start = int(np.random.randint(pair.num_frames - self._span + 1))
        return list(range(start, start + self._span, self.interval))

    def _draw_window(self, pair: ClipPair) -> Window | None:
        if self.gt_size is None:
            return None
        size = self.gt_size // self.scale
        top, left = (int(np.random.randint(side - size + 1)) for side in pair.lr_size)
        return Window(top, left, size, size)

    def _leave_out_short(self, pairs: list[ClipPair]) -> list[ClipPair]:
        # Lists the frames of every clip, which finds gaps, whether or not the lengths matter.
        lengths = self._in_threads(lambda pair: pair.num_frames, pairs)
        if self.num_input_frames is None:
            return pairs
        if max(lengths) < self._span:
            raise DataError(
                f"{self.gt_root}: no clip has {self._span} frames, as num_input_frames={self.num_input_frames} with "
                f"interval={self.interval} needs; the longest has {max(lengths)}"
            )
        short = {p: length for p, length in zip(pairs, lengths, strict=True) if length < self._span}
        return self._leave_out(pairs, short, f"shorter than {self._span} frames")

    def _check(self, pairs: list[ClipPair]) -> list[ClipPair]:
        """Look at clips, of large sets at some, and leave out those that are too small to cut from."""
        looked_at = pairs[:: -(-len(pairs) // _CHECKED_AT_START)]
        self._in_threads(ClipPair.check, looked_at)
        small = {pair: f"{pair.gt.width}x{pair.gt.height}" for pair in looked_at if self._is_small(pair)}
        if len(small) == len(pairs):
            raise self._too_small(pairs[0])
        pairs = self._leave_out(pairs, small, f"smaller than gt_size={self.gt_size}")
        looked_at = [pair for pair in looked_at if pair not in small]
        cropped = [pair for pair in looked_at if pair.crops_gt]
        if cropped:
            self._say(
                f"{self.gt_root}: ground truth of {len(cropped)} clips ({cropped[0].name}, ...) is cropped at the "
                f"bottom and on the right to a multiple of {self.scale}"
            )
        if self.num_input_frames is not None and any(isinstance(pair.gt, VideoClip) for pair in looked_at):
            self._say(
                f"{self.gt_root}: videos are decoded from their beginning for every sample; "
                "for long ones pack them first (tools/prepare_data.py)"
            )
        return pairs

    def _leave_out(self, pairs: list[ClipPair], unfit: Mapping[ClipPair, object], why: str) -> list[ClipPair]:
        if not unfit:
            return pairs
        shown = ", ".join(f"{pair.name} ({what})" for pair, what in list(unfit.items())[:20])
        more = f" and {len(unfit) - 20} more" if len(unfit) > 20 else ""
        self._say(f"{self.gt_root}: {len(unfit)} clips are left out, {why}: {shown}{more}", logging.WARNING)
        return [pair for pair in pairs if pair not in unfit]

    def _is_small(self, pair: ClipPair) -> bool:
        return self.gt_size is not None and min(pair.lr_size) * self.scale < self.gt_size

    def _too_small(self, pair: ClipPair) -> DataError:
        return DataError(
            f"clip {pair.name} ({pair.gt.path}): frames of {pair.gt.width}x{pair.gt.height} are smaller than "
            f"gt_size={self.gt_size}; choose a smaller one or exclude the clip"
        )

    @staticmethod
    def _in_threads(work: Callable, pairs: list[ClipPair]) -> list:
        # File systems over a network answer many questions at once.
        with ThreadPoolExecutor(16) as pool:
            futures = [pool.submit(work, pair) for pair in pairs]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    @staticmethod
    def _say(line: str, level: int = logging.INFO) -> None:
        print_log(line, logger="current", level=level)


@DATASETS.register_module()
class ConcatClips(ConcatDataset):
    """Data sets one after the other, such as the two folders that the official REDS training clips stand in.

    Where clips of two have the same names, those in samples begin with the folder, so that scores stay apart.

    Args:
        datasets: their configs.
        times: how often each counts, so that a small one is seen more often; once by default.
    """

    #: Nothing beyond the items; mmengine's loops ask for it.
    metainfo: dict = {}  # noqa: RUF012

    def __init__(self, datasets: Sequence[dict], times: Sequence[int] | None = None):
        built = [DATASETS.build(dataset) for dataset in datasets]
        sets = [dataset for dataset in built if isinstance(dataset, ClipDataset)]
        names = Counter(pair.name for dataset in sets for pair in dataset.pairs)
        if sets and max(names.values()) > 1:
            places = [os.path.abspath(dataset.gt_root) for dataset in sets]
            for number, (dataset, place) in enumerate(zip(sets, places, strict=True)):
                below = os.path.relpath(place, os.path.commonpath(places))
                dataset.key_prefix = "" if below == "." else f"{below}/"
                if places.count(place) > 1:
                    dataset.key_prefix += f"{number}/"
        counts = [1] * len(built) if times is None else times
        super().__init__([dataset for dataset, count in zip(built, counts, strict=True) for _ in range(count)])
