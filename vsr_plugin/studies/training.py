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
from statistics import fmean
from typing import Any

from mmengine.config import Config

import vsr_plugin
from vsr_plugin.data.clips.packed import PackedWriter
from vsr_plugin.data.degraded_clip import clip_path, crop, read_frames
from vsr_plugin.errors import TrainingError, VSRError
from vsr_plugin.evaluation.temporal import REGIONS
from vsr_plugin.files import locked
from vsr_plugin.shipped import shipped
from vsr_plugin.studies.study import StudyOptions
from vsr_plugin.training.launching import read_experiment
from vsr_plugin.visualization.training_curve import read_curves

_CONFIGS = shipped("configs")
#: Experiments that a leaf of ``configs/studies`` is a difference to: for two CPU cores, and the paper's.
SMALL, PAPER = "small_clips", "reds"
#: The most frames that are taken of a clip to train on.
MOST_FRAMES = 120
#: Name of the validation set of small trainings.
HELD_OUT = "held_out"


@dataclass(frozen=True)
class Training:
    """Trains networks of ``configs/studies``, or experiments of ``configs``, through ``vsr-plugin train``.

    Small ones learn from ``train_clips`` and are validated on the first of ``clips``; those of the paper's size have
    the data of their config.

    Args:
        folder: for runs and data of all studies.
        options: clips, frames, steps and size.
    """

    folder: Path
    options: StudyOptions

    @property
    def train_clips(self) -> tuple[str, ...]:
        """Clips that small networks learn from."""
        return self.options.train_clips or ("bikes", "bigbuckbunny")

    @property
    def held_out(self) -> str:
        """The clip that they never see."""
        return (self.options.clips or ("carphone_pristine",))[0]

    def read(self, leaf: str) -> Config:
        """The config of a network, by the name of its file in ``configs/studies``, or else in ``configs``."""
        row = _CONFIGS / "studies" / f"{leaf}.py"
        if row.is_file():
            return read_experiment(row, PAPER if self.options.paper_size else SMALL)
        return read_experiment(_CONFIGS / f"{leaf}.py")

    def settings(self, leaf: str, seed: int = 0, **generator: Any) -> dict[str, Any]:
        """What the result of a run depends on.

        Args:
            leaf: name of the network's config.
            seed: of initial weights and data.
            generator: settings of the network that replace those of the config.

        Raises:
            VSRError: a clip is not there, is used for both, or is smaller than what is cut from it.
        """
        cfg = self.read(leaf)
        cfg.merge_from_dict({f"model.generator.{key}": value for key, value in generator.items()})
        settings = dict(
            leaf=leaf,
            recipe=PAPER if self.options.paper_size else SMALL,
            model=cfg.model.to_dict(),
            seed=seed,
            steps=self.options.steps or cfg.train_cfg.max_iters,
        )
        if self.options.paper_size:
            return settings
        if self.held_out in self.train_clips:
            raise VSRError(f"{self.held_out}: is trained on and validated on; leave it out of --train-clips or --clips")
        self._check_size(cfg.train_dataloader.dataset.gt_size)
        return settings | dict(
            train=[[clip, clip_path(clip).name, list(self.options.size_of(clip))] for clip in self.train_clips],
            held_out=self.options.identify(self.held_out, self.options.frames or 20),
        )

    def _check_size(self, patch: int) -> None:
        # Before clips are packed, and in the words of the command line.
        if self.options.size is not None and min(self.options.size) < patch:
            height, width = self.options.size
            raise VSRError(
                f"--size {height}x{width}: clips to train on are cut to it too, and training takes patches of "
                f"{patch}x{patch} from them; make it at least {patch}x{patch}"
            )

    def work_dir(self, settings: dict[str, Any]) -> Path:
        """Where a training of these settings keeps its checkpoints."""
        # By what is trained, so that studies whose leaves come to the same network share it.
        shared = {key: value for key, value in settings.items() if key != "leaf"}
        return self.folder / "runs" / hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:16]

    def run(self, settings: dict[str, Any], progress: Callable[[float], None]) -> dict[str, Any]:
        """Train, or go on with a training that was interrupted, or take what is finished.

        Where another study is at the same training, wait for it.

        Returns:
            ``psnr`` per frame after the last step, mean over the clips of the validation set, ``psnr_bicubic`` if it
            was taken; ``regions`` and ``regions_bicubic``, PSNR in each of ``REGIONS``, ``None`` for what there is not;
            ``protocol``, a line each; ``seconds`` of this process's part; ``checkpoint``.

        Raises:
            TrainingError: the process failed; its log is named.
        """
        work_dir = self.work_dir(settings)
        work_dir.mkdir(parents=True, exist_ok=True)
        checkpoint = work_dir / f"iter_{settings['steps']}.pth"
        begin = time.perf_counter()
        with locked(work_dir, wait=True):
            if not (checkpoint.is_file() and _reports(work_dir)):
                # A run that was stopped in the validation at its end would not validate again.
                checkpoint.unlink(missing_ok=True)
                self._train(settings, work_dir, progress)
        (report,) = _reports(work_dir)
        document = json.loads(report.read_text(encoding="utf-8"))
        clips = [clip["frames"] for clip in document["clips"]]
        figures = {
            name: [fmean(frame[name] for frame in frames) for frames in zip(*clips, strict=False)]
            for name in ("psnr", "psnr_bicubic")
            if name in clips[0][0]
        }
        for suffix in ("", "_bicubic"):
            figures[f"regions{suffix}"] = [document["mean"].get(f"psnr_{name}{suffix}") for name in REGIONS]
        protocol = [f"{document['dataset']}, {document['protocol']}", *document["definitions"]]
        return dict(figures, protocol=protocol, seconds=time.perf_counter() - begin, checkpoint=str(checkpoint))

    def _train(self, settings: dict[str, Any], work_dir: Path, progress: Callable[[float], None]) -> None:
        config = work_dir / "experiment.py"
        if not config.exists():
            cfg = self._config(settings, work_dir)
            # mmengine writes configs through yapf, which takes seconds; Python reads this as well.
            config.write_text("\n".join(f"{key} = {value!r}" for key, value in cfg.to_dict().items()) + "\n")
        log = work_dir / "log.txt"
        command = [sys.executable, "-m", "vsr_plugin", "train", config, "--work-dir", work_dir, "--resume"]
        path = os.pathsep.join(filter(None, (str(Path(vsr_plugin.__file__).parents[1]), os.environ.get("PYTHONPATH"))))
        environment = os.environ | {"PYTHONPATH": path} | self._visible()
        with open(log, "a", encoding="utf-8") as output:
            process = subprocess.Popen(
                list(map(os.fspath, command)), stdout=output, stderr=subprocess.STDOUT, env=environment
            )
            try:
                _watch(process, work_dir, settings["steps"], progress)
            finally:
                process.terminate()
                process.wait()
        if process.returncode:
            last = "".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:])
            reason = last.removeprefix("error: ")
            raise TrainingError(f"training failed with status {process.returncode}: {reason} (log: {log})")

    def _visible(self) -> dict[str, str]:
        """What lets a training see the GPU that was chosen, and no other."""
        index = self.options.device.index
        if index is None:
            return {}
        here = os.environ.get("CUDA_VISIBLE_DEVICES")
        return {"CUDA_VISIBLE_DEVICES": here.split(",")[index] if here else str(index)}

    def _config(self, settings: dict[str, Any], work_dir: Path) -> Config:
        cfg, steps = self.read(settings["leaf"]), settings["steps"]
        cfg.model = settings["model"]
        cfg.randomness = dict(seed=settings["seed"])
        cfg.train_cfg.update(max_iters=steps, val_interval=min(cfg.train_cfg.val_interval, steps))
        schedule = cfg.param_scheduler if isinstance(cfg.param_scheduler, list) else [cfg.param_scheduler]
        schedule[-1].T_max = steps
        checkpoints = cfg.default_hooks.checkpoint
        # With the last one lost, an interrupted run still has one to go on from.
        checkpoints.update(interval=min(checkpoints.interval, steps), max_keep_ckpts=2)
        checkpoints.pop("save_best", None)
        cfg.val_evaluator.update(out_dir=str(work_dir), extra=["regions"])
        if not self.options.paper_size:
            data = self._data(settings)
            cfg.train_cfg.val_interval = steps
            cfg.val_evaluator.dataset = HELD_OUT
            for loader, part in ((cfg.train_dataloader, "train"), (cfg.val_dataloader, "val")):
                loader.dataset.update(gt_root=str(data / part), ann_file=None)
            cfg.val_dataloader.num_workers = 0
        return cfg

    def _data(self, settings: dict[str, Any]) -> Path:
        """Clips as training reads them fastest, made once: ``train`` and ``val`` in the folder that is returned."""
        wanted = json.dumps([settings["train"], settings["held_out"]], sort_keys=True)
        folder = self.folder / "data" / hashlib.sha256(wanted.encode()).hexdigest()[:16]
        for clip in self.train_clips:
            _pack(folder / "train" / f"{clip_path(clip).stem}.npy", clip, 0, MOST_FRAMES, self.options.size_of(clip))
        name, frames = f"{clip_path(self.held_out).stem}.npy", settings["held_out"]["frames"]
        _pack(folder / "val" / name, self.held_out, self.options.start, frames, self.options.size_of(self.held_out))
        return folder


def _reports(work_dir: Path) -> list[Path]:
    """The report of a validation, which carries the name of its set."""
    return [path for path in work_dir.glob("*.json") if '"protocol"' in path.read_text(encoding="utf-8")]


def _watch(process: subprocess.Popen, work_dir: Path, steps: int, progress: Callable[[float], None]) -> None:
    """Wait for a training and tell how far it is, by its log."""
    reported = 0.0
    while process.poll() is None:
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            done = _steps_done(work_dir) / steps
            progress(max(0.0, done - reported))
            reported = max(reported, done)


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
