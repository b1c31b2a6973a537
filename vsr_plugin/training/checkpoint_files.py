"""Checkpoints of mmengine: published names and safetensors are read as well, and files are whole or not there."""

import os
import pickle
import re
import zipfile
from pathlib import Path

import torch
from mmengine.fileio import LocalBackend, register_backend
from mmengine.runner import CheckpointLoader

from vsr_plugin.errors import TrainingError
from vsr_plugin.files import NewFile
from vsr_plugin.weights.loading import read_checkpoint, resolve
from vsr_plugin.weights.zoo import PUBLISHED, SHIPPED


# mmengine takes prefixes for patterns. The whole name has to match, so that no file beside it is meant.
@CheckpointLoader.register_scheme(prefixes=[*(f"{name}$" for name in (*PUBLISHED, *SHIPPED)), r".*\.safetensors$"])
def load_weights(source: str, _map_location: object = None) -> object:
    """Read weights to the CPU, from where mmengine copies them into the model.

    Args:
        source: a name of :data:`vsr_plugin.weights.PUBLISHED`, or a file of safetensors.

    Raises:
        WeightsError: they are not on this machine and cannot be fetched, or the file is none.
    """
    return read_checkpoint(resolve(source))


#: Name of the storage backend that configs give to mmengine's ``CheckpointHook`` (``backend_args``).
ATOMIC = "vsr_plugin_atomic"


@register_backend(ATOMIC)
class AtomicBackend(LocalBackend):
    """mmengine's local files, except that a file gets its name when all of it is on the disk."""

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """Write bytes under ``filepath``, replacing what is there in one step.

        Raises:
            TrainingError: the disk is full or the folder cannot be written.
        """
        target = Path(filepath)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with NewFile(target) as file:
                file.write(obj)
        except OSError as error:
            raise TrainingError(
                f"{target}: the checkpoint cannot be written ({error.strerror}); the ones before are whole: "
                "make room and go on with --resume"
            ) from error


def latest_checkpoint(work_dir: str | os.PathLike, since: float = 0) -> Path | None:
    """The whole checkpoint ``iter_N.pth`` with the highest N in a folder, written since a time, or ``None``."""
    numbered = {}
    for path in Path(work_dir).glob("iter_*.pth"):
        match = re.fullmatch(r"iter_(\d+)", path.stem)
        if match and path.stat().st_mtime >= since:
            numbered[int(match[1])] = path
    return next((path for _, path in sorted(numbered.items(), reverse=True) if is_whole(path)), None)


def is_whole(path: str | os.PathLike) -> bool:
    """Whether a checkpoint has its end; PyTorch's files are zip archives, whose table stands last."""
    return zipfile.is_zipfile(path)


def training_meta(path: str | os.PathLike) -> dict:
    """What a checkpoint says of its training: ``iter``, steps done, and ``threads`` of the CPU, if that computed.

    Raises:
        TrainingError: it holds no training, or cannot be read.
    """
    try:
        # As mmengine does right after it (as data alone from PyTorch 2.6 on), but the tensors stay on the disk.
        checkpoint = torch.load(path, map_location="cpu", mmap=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TrainingError(f"{path}: cannot be read as a checkpoint ({reason}); take another one") from error
    parts = ("state_dict", "optimizer", "message_hub", "meta")
    missing = [part for part in parts if not isinstance(checkpoint, dict) or part not in checkpoint]
    if missing:
        raise TrainingError(
            f"{path}: holds weights, not a training to go on with (there is no {missing[0]!r}); to start from them, "
            "leave --resume out and add --cfg-options model.generator.init_cfg.type=Pretrained "
            f"model.generator.init_cfg.checkpoint={path}"
        )
    return checkpoint["meta"]
