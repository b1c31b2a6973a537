"""Time to load one training sample: MMagic's pipeline on PNG files against ours from every kind of storage."""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from vsr_plugin.data.clip_dataset import ClipDataset
from vsr_plugin.data.preparation.prepare import prepare
from vsr_plugin.data.preparation.products import PNGWriter, Request
from vsr_plugin.data.sample_clips import sample_clip
from vsr_plugin.data.sampling import seeded
from vsr_plugin.media import open_source
from vsr_plugin.mmagic_host import import_quietly
from vsr_plugin.report import table_text

#: Implementations: what they are, and where they read ground truth and LR (``None``: made while reading).
IMPLEMENTATIONS: dict[str, tuple[str, str, str | None]] = {
    "mmagic": ("MMagic's pipeline, PNG files", "GT", "BIx4"),
    "png": ("ClipDataset, PNG files", "GT", "BIx4"),
    "packed": ("ClipDataset, packed ground truth and LR", "packed/GT", "packed/BIx4"),
    "packed-BI": ("ClipDataset, packed ground truth, LR made by BI while reading", "packed/GT", None),
    "packed-BD": ("ClipDataset, packed ground truth, LR made by BD while reading", "packed/GT", None),
}
_AUGMENTATION = (
    dict(type="Flip", keys=["img", "gt"], flip_ratio=0.5, direction="horizontal"),
    dict(type="Flip", keys=["img", "gt"], flip_ratio=0.5, direction="vertical"),
    dict(type="RandomTransposeHW", keys=["img", "gt"], transpose_ratio=0.5),
    dict(type="PackInputs"),
)


@dataclasses.dataclass(frozen=True)
class Workload:
    """The data and the samples taken of them.

    Args:
        clips: number of clips.
        clip_frames: frames of each.
        size: height and width of ground truth, cut from the top left; whole frames if it is larger.
        frames: length of a sample.
        gt_size: side of its crop.
    """

    clips: int = 4
    clip_frames: int = 33
    size: tuple[int, int] = (720, 1280)
    frames: int = 15
    gt_size: int = 256


@dataclasses.dataclass
class Result:
    """Seconds per sample of one implementation, of the wall clock and of the processor, one entry per sample."""

    implementation: str
    cache: str
    seconds: list[float] = dataclasses.field(default_factory=list)
    cpu_seconds: list[float] = dataclasses.field(default_factory=list)

    @property
    def median(self) -> float:
        """Median of the seconds per sample."""
        return statistics.median(self.seconds)

    @property
    def median_cpu(self) -> float:
        """Median of the processor's seconds per sample."""
        return statistics.median(self.cpu_seconds)


def make_data(folder: Path, workload: Workload) -> None:
    """Cut bigbuckbunny into clips, as PNG files and packed, with LR frames in BI and BD.

    Raises:
        VSRError: the clip is not installed, or the disk is full.
    """
    height, width = workload.size
    with open_source(sample_clip("bigbuckbunny")) as source:
        frames = source.frames(num_frames=workload.clips * workload.clip_frames)
        (folder / "GT").mkdir()
        for i in range(workload.clips):
            stems = (f"{k:08d}" for k in count())
            with PNGWriter(folder / "GT" / f"{i:03d}", stems) as writer:
                for frame, _ in zip(frames, range(workload.clip_frames), strict=False):
                    writer.write(frame.rgb[:height, :width])
    for pack in (False, True):
        prepare("folder", folder, Request(folder, ("BI", "BD"), pack), report=lambda line: None)


def build(implementation: str, folder: Path, workload: Workload) -> Dataset:
    """The data set of one of :data:`IMPLEMENTATIONS`, as a training would use it."""
    _, gt, lq = IMPLEMENTATIONS[implementation]
    if implementation == "mmagic":
        return _build_mmagic(folder, workload)
    return ClipDataset(
        gt_root=folder / gt,
        lq_root=None if lq is None else folder / lq,
        degradation=implementation.partition("-")[2] or None,
        num_input_frames=workload.frames,
        gt_size=workload.gt_size,
        pipeline=_AUGMENTATION,
    )


def _build_mmagic(folder: Path, workload: Workload) -> Dataset:
    import_quietly("mmagic.datasets")
    registry = import_quietly("mmagic.registry")
    # The pipeline of MMagic's own configs of BasicVSR for REDS.
    pipeline = (
        dict(type="GenerateSegmentIndices", interval_list=[1]),
        dict(type="LoadImageFromFile", key="img", channel_order="rgb"),
        dict(type="LoadImageFromFile", key="gt", channel_order="rgb"),
        dict(type="SetValues", dictionary=dict(scale=4)),
        dict(type="PairedRandomCrop", gt_patch_size=workload.gt_size),
        *_AUGMENTATION,
    )
    return registry.DATASETS.build(
        dict(
            type="BasicFramesDataset",
            data_root=str(folder),
            data_prefix=dict(img="BIx4", gt="GT"),
            depth=1,
            num_input_frames=workload.frames,
            pipeline=[registry.TRANSFORMS.build(transform) for transform in pipeline],
        )
    )


def protocol(workload: Workload, repetitions: Mapping[str, int]) -> str:
    """How :func:`measure` measures, for a person."""
    height, width = workload.size
    states = {"warm": "all data in the page cache", "cold": "none of it there"}
    return (
        f"{workload.frames} frames of {workload.gt_size}x{workload.gt_size} with LR of a quarter, from "
        f"{workload.clips} clips of bigbuckbunny with {workload.clip_frames} frames of {width}x{height}; one process, "
        "one thread; implementations in turn, sample by sample, with the same random numbers; one sample to warm up, "
        "then " + " and ".join(f"{number} with {states[cache]}" for cache, number in repetitions.items())
    )


def measure(
    implementations: Sequence[str],
    folder: Path,
    workload: Workload,
    repetitions: Mapping[str, int],
    report: Callable[[str], None] = lambda line: None,
) -> list[Result]:
    """Load samples, one of each implementation in turn; the first is what the others are compared with.

    Args:
        implementations: names from :data:`IMPLEMENTATIONS`.
        folder: what :func:`make_data` made.
        workload: the same.
        repetitions: samples per implementation by state of the page cache, ``'warm'`` and ``'cold'``; cold: everything
            is thrown out of it before each sample.
        report: is given a line per round.
    """
    with _one_thread():
        datasets = {name: build(name, folder, workload) for name in implementations}
        for dataset in datasets.values():
            _load(dataset, 0)
        results = []
        for cache, number in repetitions.items():
            of_cache = [Result(name, cache) for name in implementations]
            for k in range(number):
                for result in of_cache:
                    if cache == "cold":
                        _evict(folder)
                    seconds, cpu_seconds = _load(datasets[result.implementation], k)
                    result.seconds.append(seconds)
                    result.cpu_seconds.append(cpu_seconds)
                times = ", ".join(f"{result.implementation} {1e3 * result.seconds[-1]:.1f}" for result in of_cache)
                report(f"{cache} {k + 1}/{number}: {times} ms")
            results += of_cache
    return results


@contextmanager
def _one_thread() -> Iterator[None]:
    """What PyTorch gives the worker of a data loader, of which there are as many as cores."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])


def _load(dataset: Dataset, k: int) -> tuple[float, float]:
    with seeded(k):
        wall, cpu = time.perf_counter(), time.process_time()
        dataset[k % len(dataset)]
        return time.perf_counter() - wall, time.process_time() - cpu


def _evict(folder: Path) -> None:
    """Throw all files out of the page cache."""
    for path in folder.rglob("*.*"):
        if path.is_file():
            with open(path, "rb") as file:
                # Only what is on the disk can be thrown out.
                os.fdatasync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def table(results: Sequence[Result]) -> str:
    """A table in Markdown.

    ``times`` is how many times as fast as the first implementation with the same cache, by medians; ``by CPU time`` the
    same by the processor's time, which other processes on the machine disturb less.
    """
    titles = "page cache | implementation | ms/sample | 10 % to 90 % | times | CPU ms | by CPU time"
    rows = []
    first: Result | None = None
    for result in results:
        if first is None or result.cache != first.cache:
            first = result
        low, high = np.quantile(result.seconds, (0.1, 0.9))
        rows.append(
            [
                result.cache,
                IMPLEMENTATIONS[result.implementation][0],
                f"{1e3 * result.median:.1f}",
                f"{1e3 * low:.1f} to {1e3 * high:.1f}",
                f"{first.median / result.median:.1f}",
                f"{1e3 * result.median_cpu:.1f}",
                f"{first.median_cpu / result.median_cpu:.1f}",
            ]
        )
    return table_text(titles.split(" | "), rows)
