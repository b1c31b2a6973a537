"""Video restoration with the call of MMagic's ``VideoRestorationInferencer``, on the engine of this package."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict

import numpy as np
import torch
import torch.nn as nn
from mmengine.config import Config

from vsr_plugin.errors import VSRError
from vsr_plugin.media import open_source
from vsr_plugin.media.image_file import read_image
from vsr_plugin.models.vsr_net import VSRNet
from vsr_plugin.ops.device import pick_device
from vsr_plugin.progress import frame_progress
from vsr_plugin.registry import MODELS
from vsr_plugin.restoration import RestoreOptions, restore_video
from vsr_plugin.restoration.options import expected_frames
from vsr_plugin.restoration.outputs import pair_outputs
from vsr_plugin.shipped import find_config
from vsr_plugin.training.launching import load_config
from vsr_plugin.weights import load_into, load_net


class RestoredFrames(Sequence[np.ndarray]):
    """Frames like a list of RGB arrays ``(H, W, 3)``, on disk instead of in memory, since a minute of 4K is 36 GB.

    They lie in a temporary folder, losslessly, for as long as this object lives; ``close()``, or leaving a ``with``,
    removes them earlier.

    Attributes:
        folder: where they are to be written, as images, before the first is read.
    """

    def __init__(self) -> None:
        # What is beside the frames while they are made, or is left when that fails, goes with them.
        parent = Path(tempfile.mkdtemp(prefix="vsr_plugin-"))
        self._remove = weakref.finalize(self, shutil.rmtree, parent, ignore_errors=True)
        self._files: list[Path] | None = None
        self.folder = parent / "frames"

    @property
    def files(self) -> list[Path]:
        """The images, in order."""
        if self._files is None:
            with open_source(self.folder) as source:
                self._files = source.files
        return self._files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        return read_image(self.files[index]).rgb

    def close(self) -> None:
        """Remove the frames from the disk."""
        self._remove()

    def __enter__(self) -> RestoredFrames:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


PathLike = str | os.PathLike

#: What MMagic's inferencer has to be told, and why it is not needed here.
_NOT_NEEDED = {
    "start_idx": "the images of a folder are taken in natural order, from any first number",
    "filename_tmpl": "the images of a folder are taken whatever their names, which the results keep",
    "max_seq_len": "any length is restored in bounded memory, without seams",
}


class InferenceResult(TypedDict):
    """What became of one input.

    Keys:
        video: the input, as given.
        result_out_dir: the video or folder that was written, ``None`` if none was asked for.
        infer_results: in that case the frames, else ``None``.
        num_frames: how many were restored.
        quality: means of PSNR and SSIM over the frames where ground truth was given, else ``None``.
        notes: lines worth telling a person, from reading and writing.
    """

    video: PathLike
    result_out_dir: str | None
    infer_results: RestoredFrames | None
    num_frames: int
    quality: dict[str, float] | None
    notes: list[str]


class VSRInferencer:
    """Restores videos, folders of images and images.

    The arguments are those of MMagic's ``VideoRestorationInferencer``, so that it can stand in its place. Against it:
    frame rate, timestamps and audio are kept; any length is restored in bounded memory, as one sequence; results are
    returned, and appear under their name when they are whole; instances share nothing; a config is only read.

    Args:
        config: experiment, such as ``'iconvsr_reds'``: name, path or config; its network is built, and its
            ``model.test_cfg`` is what ``extra_parameters`` change. By default the network is told from the weights.
        ckpt: weights, a published name or a path, in any layout.
        device: where to compute; by default a GPU if there is one.
        extra_parameters: any of :class:`vsr_plugin.restoration.RestoreOptions`, such as ``dict(precision='bf16')``
            or ``dict(scale=2)``. Those of MMagic's that are not needed here are passed over with a note in the result.
        show_progress: show a bar on standard error.

    Raises:
        VSRError: config, weights, device or a parameter do not exist or do not go together.

    Example:
        >>> restore = VSRInferencer('configs/basicvsr_reds.py', 'basicvsr_reds4')  # doctest: +SKIP
        >>> restore(video='in.mp4', result_out_dir='out.mp4')['num_frames']  # doctest: +SKIP
        250
    """

    def __init__(
        self,
        config: PathLike | Config | Mapping | None = None,
        ckpt: PathLike | None = None,
        device: str | torch.device | None = None,
        extra_parameters: Mapping[str, Any] | None = None,
        *,
        show_progress: bool = True,
    ) -> None:
        if not ckpt:
            raise VSRError("ckpt: no weights given; name published ones, such as 'basicvsr_reds4', or a checkpoint")
        self.device = pick_device("auto" if device is None else str(device))
        self.show_progress = show_progress
        self._parameters: dict[str, Any] = {}
        if config is None:
            net = _restoring(load_net(ckpt), ckpt)
        else:
            model = read_model(config)
            net = _restoring(_build(model.get("generator") or {}), "the config's network")
            load_into(net, ckpt)
            self._parameters.update(model.get("test_cfg") or {})
        self.net = net.to(self.device).eval()
        self._parameters = _changed(self._parameters, extra_parameters)
        _options(self._parameters)

    def get_extra_parameters(self) -> list[str]:
        """Names that ``extra_parameters`` may have."""
        return [field.name for field in fields(RestoreOptions)]

    def __call__(
        self,
        *,
        video: PathLike | Sequence[PathLike] | None = None,
        img: PathLike | Sequence[PathLike] | None = None,
        result_out_dir: PathLike = "",
        extra_parameters: Mapping[str, Any] | None = None,
    ) -> InferenceResult | list[InferenceResult]:
        """Restore.

        Args:
            video: video file, folder of images, or several of them.
            img: in place of it, an image or several, each a sequence of its own.
            result_out_dir: video file, or folder for PNG files; of several inputs a folder that exists or whose name
                ends in ``/``. Without it the frames are returned.
            extra_parameters: for this call, over those of the instance.

        Returns:
            The result; of several inputs a list of them.

        Raises:
            VSRError: an input cannot be used, or an output not be written; the text says which, why and what to do.
        """
        if (video is None) == (img is None):
            raise VSRError(
                "give either `video`, a path of a video or of a folder of images, or `img`, that of an image"
            )
        given = img if video is None else video
        several = isinstance(given, Sequence) and not isinstance(given, str)
        inputs = list(given) if several else [given]
        for path in inputs:
            if not isinstance(path, str | os.PathLike):
                raise VSRError(
                    f"inputs are paths, got {type(path).__name__}; arrays and tensors are for "
                    "vsr_plugin.inference.restore_frames"
                )
        options, notes = _options(_changed(self._parameters, extra_parameters))
        output = os.fspath(result_out_dir)
        outputs = [target for _, target in pair_outputs(inputs, output)] if output else [None] * len(inputs)
        results = [self._restore(*pair, options, notes) for pair in zip(inputs, outputs, strict=True)]
        return results if several else results[0]

    def _restore(
        self, path: PathLike, output: str | None, options: RestoreOptions, notes: list[str]
    ) -> InferenceResult:
        frames = RestoredFrames() if output is None else None
        try:
            with ExitStack() as stack:
                bars = []

                def on_open(source) -> None:
                    if self.show_progress:
                        bars.append(stack.enter_context(frame_progress(expected_frames(source, options))))

                def progress(count: float) -> None:
                    for bar in bars:
                        bar.update(count)

                target = frames.folder if output is None else output
                result = restore_video(path, target, self.net, options, on_open=on_open, progress=progress)
        except BaseException:
            if frames is not None:
                frames.close()
            raise
        return InferenceResult(
            video=path,
            result_out_dir=output,
            infer_results=frames,
            num_frames=result.num_frames,
            quality=None if result.quality is None else result.quality.means(),
            notes=[*notes, *result.notes],
        )


def read_model(config: PathLike | Config | Mapping) -> Mapping:
    """The model of an experiment; the config stays as it is.

    Raises:
        VSRError: it cannot be read, or has no model.
    """
    cfg = load_config(find_config(config)) if isinstance(config, str | os.PathLike) else config
    model = cfg.get("model")
    if not isinstance(model, Mapping):
        raise VSRError(
            f"{getattr(cfg, 'filename', None) or 'the config'}: has no `model`; name an experiment of configs/"
        )
    return model


def is_ours(model: Mapping) -> bool:
    """Whether the model of a config is this package's, and not one of MMagic's."""
    return str(model.get("type")).removeprefix("vsr_plugin.") in ("VideoRestorer", "CleaningRestorer")


def _build(generator: Mapping) -> nn.Module:
    try:
        return MODELS.build(dict(generator))
    except (KeyError, TypeError, ValueError) as error:
        raise VSRError(f"the config's network cannot be built: {error}") from error


def _restoring(net: nn.Module, source: object) -> nn.Module:
    if not isinstance(net, VSRNet):
        raise VSRError(
            f"{source}: {type(net).__module__}.{type(net).__name__} is no network of ours that restores videos"
        )
    return net


def _changed(before: Mapping[str, Any], changes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Parameters with changes, of which ``scale`` takes the place of ``height`` and the other way round."""
    changes = dict(changes or {})
    replaced = {"scale", "height"} if changes.keys() & {"scale", "height"} else set()
    return {name: value for name, value in before.items() if name not in replaced} | changes


def _options(parameters: Mapping[str, Any]) -> tuple[RestoreOptions, list[str]]:
    """Options of the engine, and notes on parameters that are not needed."""
    known = [field.name for field in fields(RestoreOptions)]
    unknown = [name for name in parameters if name not in known and name not in _NOT_NEEDED]
    if unknown:
        hint = ", which is for sliding-window networks" if unknown[0] == "window_size" else ""
        raise VSRError(f"extra_parameters: no parameter {unknown[0]!r}{hint}; there are {', '.join(known)}")
    notes = [f"{name} is not needed: {why}" for name, why in _NOT_NEEDED.items() if name in parameters]
    options = {name: value for name, value in parameters.items() if name in known}
    # A call may choose another strategy than the windows that the instance was set to.
    if options.get("strategy", RestoreOptions.strategy) != "window":
        unused = [name for name in ("window", "overlap") if options.pop(name, None) is not None]
        notes += [f"{name} is not needed: it is for the strategy 'window'" for name in unused]
    return RestoreOptions(**options), notes
