"""Trainings of seconds: a small network, and clips of moving noise made on the spot."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmagic.structures import DataSample
from mmengine.config import Config
from mmengine.dataset import worker_init_fn  # noqa: F401 (registers mmengine's own)
from torch.utils.data import Dataset
from unformatted_configs import leave_configs_unformatted

import vsr_plugin  # noqa: F401
from vsr_plugin.data.sampling import SeededIndex, seeded
from vsr_plugin.media import open_source
from vsr_plugin.registry import DATASETS


@DATASETS.register_module(force=True)
class MovingNoise(Dataset):
    """Sequences of ``t`` frames of 32x32 pixels with their LR; random crops when drawn with a seed."""

    metainfo: dict = {}  # noqa: RUF012

    def __init__(self, length: int = 5, t: int = 3, broken: tuple[int, ...] = ()):
        self.length, self.t, self.broken = length, t, broken

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        with seeded(index.seed if isinstance(index, SeededIndex) else int(index)):
            top, left = np.random.randint(32, size=2)
        noise = torch.from_numpy(np.random.default_rng(int(index)).integers(0, 256, (3, 64, 64), np.uint8))
        gt = torch.stack([noise.roll((int(top) + i, int(left)), (1, 2))[:, :32, :32] for i in range(self.t)])
        inputs = gt.float().unflatten(-1, (8, 4)).unflatten(-3, (8, 4)).mean((-1, -3))
        if int(index) in self.broken:
            inputs[0, 0, 0, 0] = float("nan")
        else:
            inputs = inputs.round().byte()
        sample = DataSample(gt_img=gt)
        sample.set_metainfo(dict(key=f"clip{int(index)}", frames=list(range(self.t))))
        return dict(inputs=inputs, data_samples=sample)


@pytest.fixture(autouse=True)
def unformatted_configs(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_configs_unformatted(monkeypatch.setattr)


@pytest.fixture
def crops(real_clip: Callable[[str], Path]) -> Callable[..., Iterator[np.ndarray]]:
    """Return a function that yields batches ``(2, 3, 32, 32, 3)`` of ``uint8``, crops of a real clip, as asked for."""
    with open_source(real_clip("carphone_pristine")) as source:
        clip = np.stack([frame.rgb for frame in source.frames(num_frames=20)])

    def draw(rng: np.random.Generator, batches: int, n: int = 2, t: int = 3, side: int = 32) -> Iterator[np.ndarray]:
        for _ in range(batches):
            gts = []
            for _ in range(n):
                start = rng.integers(len(clip) - t + 1)
                top, left = (4 * rng.integers((length - side) // 4 + 1) for length in clip.shape[1:3])
                gts.append(clip[start : start + t, top : top + side, left : left + side])
            yield np.stack(gts)

    return draw


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Let sums be taken in the same order in both of two networks."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def experiment(tmp_path: Path) -> Callable[..., Config]:
    """Return a function that makes the config of a small training; keywords are merged into it."""

    def make(**changes: Any) -> Config:
        cfg = Config(
            dict(
                default_scope="vsr_plugin",
                work_dir=str(tmp_path / "run"),
                model=dict(
                    type="VideoRestorer",
                    generator=dict(type="BasicVSRNet", mid_channels=4, num_blocks=1, spynet_width=4),
                    pixel_loss=dict(type="CharbonnierLoss"),
                ),
                total_batch_size=2,
                train_dataloader=dict(
                    batch_size=2, num_workers=0, sampler=dict(type="ResumableSampler"), dataset=dict(type="MovingNoise")
                ),
                train_cfg=dict(type="StepTrainLoop", max_iters=4),
                optim_wrapper=dict(
                    type="GuardedOptimWrapper",
                    constructor="PartsConstructor",
                    optimizer=dict(type="Adam", lr=2e-4, betas=(0.9, 0.99)),
                    paramwise_cfg=dict(lr_mults={"generator.spynet": 0.125}),
                ),
                param_scheduler=dict(type="CosineAnnealingLR", by_epoch=False, T_max=50, eta_min=1e-7),
                default_hooks=dict(
                    logger=dict(type="LoggerHook", interval=1),
                    checkpoint=dict(
                        type="CheckpointHook", by_epoch=False, interval=1000,
                        backend_args=dict(backend="vsr_plugin_atomic"),
                    ),
                    data_only=dict(type="DataOnlyCheckpoints"),
                    guard=dict(type="NonFiniteGuard"),
                ),
                custom_hooks=[],
                log_processor=dict(by_epoch=False, window_size=1),
                visualizer=dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")]),
                log_level="ERROR",
                randomness=dict(seed=0),
                launcher="none",
            )
        )  # fmt: skip
        cfg.merge_from_dict(changes)
        return cfg

    return make
