"""One training of a study: config, data and process, kept so that studies share runs and interrupted ones go on."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from mmengine.config import Config

from vsr_plugin.datasets.clips.packing import PackedWriter
from vsr_plugin.datasets.degraded_clip import clip_path, crop, read_frames
from vsr_plugin.errors import TrainingError, VSRError
from vsr_plugin.studies.options import StudyOptions
from vsr_plugin.visualization.training_curve import read_curves

_ROOT = Path(__file__).parents[2]
#: The experiment that small trainings are made of, and the most frames that are taken of a clip to train on.
SMALL, MOST_FRAMES = _ROOT / "configs" / "basicvsr_small_clips.py", 120
#: Name of the validation set, which begins the names of its figures and files.
HELD_OUT = "held_out"


@dataclass(frozen=True)
class SmallTraining:
    """Trains small networks on clips, through ``tools/train.py``.

    Args:
        folder: for runs and data of all studies.
        options: ``train_clips`` to train on, the first of ``clips`` to validate on, and its frames.
        steps: of every run.
    """

    folder: Path
    options: StudyOptions
    steps: int

    @property
    def train_clips(self) -> tuple[str, ...]:
        """Clips that networks learn from."""
        return self.options.train_clips or ("bikes", "bigbuckbunny")

    @property
    def held_out(self) -> str:
        """The clip that they never see."""
        return (self.options.clips or ("carphone_pristine",))[0]

    @property
    def frames(self) -> int:
        """How many frames of it are restored."""
        return self.options.frames or 20

    def settings(self, model: dict[str, Any], seed: int) -> dict[str, Any]:
        """What the result of a run depends on.

        Args:
            model: what the model has other than that of the small experiment.
            seed: of initial weights and data.

        Raises:
            VSRError: a clip is not there, or is used for both.
        """
        if self.held_out in self.train_clips:
            raise VSRError(f"{self.held_out}: is trained on and validated on; leave it out of --train-clips or --clips")
        return dict(
            model=model,
            seed=seed,
            steps=self.steps,
            train=[[clip, clip_path(clip).name, list(self.options.size_of(clip))] for clip in self.train_clips],
            held_out=self.options.identify(self.held_out, self.frames),
            experiment=hashlib.sha256(SMALL.read_bytes()).hexdigest()[:16],
        )

    def run(self, settings: dict[str, Any], progress: Callable[[float], None]) -> dict[str, Any]:
        """Train, or go on with a training that was interrupted, or take what is finished.

        Returns:
            ``psnr`` and ``psnr_bicubic`` per frame of the held-out clip after the last step, ``seconds`` of this
            process's part, and ``checkpoint``.

        Raises:
            TrainingError: the process failed; its log is named.
        """
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        work_dir = self.folder / "runs" / digest
        work_dir.mkdir(parents=True, exist_ok=True)
        report = work_dir / f"{HELD_OUT}.json"
        checkpoint = work_dir / f"iter_{self.steps}.pth"
        begin = time.perf_counter()
        if not (report.is_file() and checkpoint.is_file()):
            # A run that was stopped in the validation at its end would not validate again.
            checkpoint.unlink(missing_ok=True)
            self._train(settings, work_dir, progress)
        frames = json.loads(report.read_text())["clips"][0]["frames"]
        return dict(
            psnr=[frame["psnr"] for frame in frames],
            psnr_bicubic=[frame["psnr_bicubic"] for frame in frames],
            seconds=time.perf_counter() - begin,
            checkpoint=str(checkpoint),
        )

    def _train(self, settings: dict[str, Any], work_dir: Path, progress: Callable[[float], None]) -> None:
        config = work_dir / "experiment.py"
        if not config.exists():
            cfg = self._config(settings, self._data(settings), work_dir)
            # mmengine writes configs through yapf, which takes seconds; Python reads this as well.
            config.write_text("\n".join(f"{key} = {value!r}" for key, value in cfg.to_dict().items()) + "\n")
        log = work_dir / "log.txt"
        command = [sys.executable, _ROOT / "tools" / "train.py", config, "--work-dir", work_dir, "--resume"]
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        with open(log, "a", encoding="utf-8") as output:
            process = subprocess.Popen(
                list(map(os.fspath, command)),
                stdout=output, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONPATH": path},
            )  # fmt: skip
            try:
                _watch(process, work_dir, self.steps, progress)
            finally:
                process.terminate()
                process.wait()
        if process.returncode:
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise TrainingError(f"training failed with status {process.returncode}: {''.join(last)} (log: {log})")

    def _data(self, settings: dict[str, Any]) -> Path:
        """Clips as training reads them fastest, made once: ``train`` and ``val`` in the folder that is returned."""
        wanted = json.dumps([settings["train"], settings["held_out"]], sort_keys=True)
        folder = self.folder / "data" / hashlib.sha256(wanted.encode()).hexdigest()[:16]
        for clip in self.train_clips:
            _pack(folder / "train" / f"{clip_path(clip).stem}.npy", clip, 0, MOST_FRAMES, self.options.size_of(clip))
        size = self.options.size_of(self.held_out)
        name = f"{clip_path(self.held_out).stem}.npy"
        _pack(folder / "val" / name, self.held_out, self.options.start, self.frames, size)
        return folder

    def _config(self, settings: dict[str, Any], data: Path, work_dir: Path) -> Config:
        cfg = Config.fromfile(SMALL)
        cfg.merge_from_dict(
            {
                "model": settings["model"],
                "randomness": dict(seed=settings["seed"]),
                "train_cfg": dict(max_iters=self.steps, val_interval=self.steps),
                "default_hooks.checkpoint": dict(interval=max(1, min(100, self.steps)), max_keep_ckpts=2),
                "val_evaluator": dict(dataset=HELD_OUT, out_dir=str(work_dir)),
            }
        )
        cfg.total_batch_size = cfg.train_dataloader.batch_size
        cfg.default_hooks.checkpoint.pop("save_best", None)
        cfg.param_scheduler[-1].T_max = self.steps
        cfg.max_iters = self.steps
        for loader, part in ((cfg.train_dataloader, "train"), (cfg.val_dataloader, "val")):
            loader.dataset.gt_root, loader.dataset.ann_file = str(data / part), None
        # Threads would be started again in each of many short runs.
        cfg.val_dataloader.num_workers = 0
        return cfg


def _watch(process: subprocess.Popen, work_dir: Path, steps: int, progress: Callable[[float], None]) -> None:
    """Wait for a training and tell how far it is, by its log."""
    told = 0.0
    while process.poll() is None:
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            done = _steps_done(work_dir) / steps
            progress(max(0.0, done - told))
            told = max(told, done)


def _steps_done(work_dir: Path) -> int:
    try:
        return max(max(points) for points in read_curves(work_dir).values())
    except VSRError:
        return 0  # nothing was logged so far


def _pack(target: Path, clip: str, start: int, num_frames: int, size: tuple[int, int]) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    frames = (crop(frame, *size) for frame in read_frames(clip, start=start, num_frames=num_frames))
    first = next(frames)
    with PackedWriter(target, height=first.shape[0], width=first.shape[1], num_frames=num_frames) as writer:
        for frame in chain([first], frames):
            writer.write(frame)
