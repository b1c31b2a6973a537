"""Restoring with exported models, without PyTorch: what ``tools/onnx_restore.py`` runs.

Frames and features wait in temporary files, so that memory does not grow with the length of a clip, but for models of
whole sequences, which hold all of a window in memory at once.
"""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from vsr_plugin.defaults import OVERLAP
from vsr_plugin.errors import VSRError, not_finite
from vsr_plugin.export.schedule import feat_name, numbered, read_schedule, step_name
from vsr_plugin.media import Frame, FrameSink, FrameSource
from vsr_plugin.ops.indices import keyframe_indices, mirrored_indices, neighbourhood_indices
from vsr_plugin.ops.sweeps import Group, StepInputs, Store, Sweep, begin_frames, run_sweeps
from vsr_plugin.ops.windows import TOP, blend_values, check_windows, cut_windows

Progress = Callable[[float], object]
#: Share of the work on a frame that its cleaning counts as.
_CLEANING = 0.1


class Records:
    """Arrays in a file, by number or by another key.

    Args:
        path: of the file, which is made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "w+b")  # noqa: SIM115 (open for as long as this object is)
        self._places: dict[Hashable, tuple[int, np.dtype, tuple[int, ...]]] = {}
        self._end = 0

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._places

    def __setitem__(self, key: Hashable, array: np.ndarray) -> None:
        """Store an array.

        Raises:
            VSRError: the disk is full or fails.
        """
        self._places[key] = self._end, array.dtype, array.shape
        try:
            self._file.seek(self._end)
            self._file.write(np.ascontiguousarray(array).data)
            self._file.flush()
        except OSError as error:
            raise VSRError(
                f"{self.path}: cannot be written ({error.strerror}); free space or choose another place"
            ) from error
        self._end += array.nbytes

    def __getitem__(self, key: Hashable) -> np.ndarray:
        offset, dtype, shape = self._places[key]
        array = np.empty(shape, dtype)
        self._file.seek(offset)
        self._file.readinto(array.data.cast("B"))
        return array

    def close(self) -> None:
        """Close the file; it stays."""
        with suppress(OSError):  # what a full disk has not taken
            self._file.close()


def as_tensor(frame: np.ndarray) -> np.ndarray:
    """``uint8`` or ``uint16`` RGB ``(h, w, 3)`` as float32 ``(3, h, w)`` in [0, 1]."""
    return np.moveaxis(frame.astype(np.float32) / np.iinfo(frame.dtype).max, -1, -3)


def as_pixels(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Float ``(3, h, w)`` as RGB ``(h, w, 3)`` of ``dtype``, ``uint8`` or ``uint16``."""
    return np.moveaxis((image.clip(0, 1) * np.iinfo(dtype).max).round(), 0, -1).astype(dtype)


class OnnxModel(ABC):
    """A network that was exported.

    Attributes:
        scale: of the network.
    """

    scale: int

    @abstractmethod
    def _sequence(
        self, read: Callable[[int], np.ndarray], t: int, wanted: range, folder: Path, on_frame: Callable[[float], None]
    ) -> Iterator[np.ndarray]:
        """Yield HR tensors ``(3, scale * h, scale * w)`` of some frames of a sequence.

        Args:
            read: gives frame ``i`` as RGB ``(h, w, 3)``.
            t: length of the sequence.
            wanted: of which frames.
            folder: for temporary files.
            on_frame: is called with the share of the work on one frame that was done.
        """

    def restore(
        self,
        frames: Sequence[np.ndarray],
        *,
        window: int | None = None,
        overlap: int = OVERLAP,
        folder: str | os.PathLike | None = None,
        progress: Progress | None = None,
    ) -> Iterator[np.ndarray]:
        """Yield HR frames ``(scale * h, scale * w, 3)`` of the dtype of ``frames``.

        Args:
            frames: RGB ``(h, w, 3)`` of ``uint8`` or ``uint16``, read by number, each more than once.
            window: restore so many frames at once, in windows that fade into each other as those of
                :func:`vsr_plugin.inference.restore_frames`; by default the whole sequence.
            overlap: frames that a window reads beyond each end.
            folder: for temporary files; by default the system's.
            progress: is called with numbers of frames, or fractions, as they are done.

        Raises:
            VSRError: the runtime fails, or the disk is full.
            ValueError: ``window`` is below 1 or ``overlap`` below 0.
        """
        check_windows(window, overlap)
        before: list[np.ndarray] = []  # what the last window has contributed to the frames around the joint
        with tempfile.TemporaryDirectory(prefix="onnx_restore-", dir=folder) as temporary:
            for part in cut_windows(range(len(frames)), window or len(frames), overlap):
                worth = len(part.keep) / len(part.frames)

                def on_frame(share: float, worth: float = worth) -> None:
                    if progress is not None:
                        progress(share * worth)

                def read(i: int, numbers: list[int] = part.frames) -> np.ndarray:
                    return frames[numbers[i]]

                wanted = range(part.keep.start, part.keep.stop + len(part.tail))
                with closing(self._sequence(read, len(part.frames), wanted, Path(temporary), on_frame)) as hrs:
                    restored = enumerate(map(_checked, hrs, count(part.start)), wanted.start)
                    for position, (i, hr) in enumerate(islice(restored, len(part.lead))):
                        dtype = read(i).dtype
                        values = blend_values(before[position], as_pixels(hr, np.uint16), position, len(part.lead))
                        yield np.rint(values * np.float32(np.iinfo(dtype).max / TOP)).astype(dtype)
                    for i, hr in islice(restored, len(part.core)):
                        yield as_pixels(hr, read(i).dtype)
                    before = [as_pixels(hr, np.uint16) for _, hr in restored]


class WholeModel(OnnxModel):
    """One model for whole sequences, all of which it holds in memory."""

    def __init__(self, path: Path, threads: int) -> None:
        self._session = _open_model(path, threads)
        if [node.name for node in self._session.get_inputs()] != ["lrs"]:
            raise VSRError(f"{path}: not a whole-sequence model of export_onnx.py; for its --parts name the folder")
        self.scale = int(_read_about(path, self._session)["scale"])

    def _sequence(self, read, t, wanted, folder, on_frame):
        hrs = _run_model(self._session, dict(lrs=np.stack([as_tensor(read(i)) for i in range(t)])[None]))
        on_frame(t)
        yield from hrs[0][wanted.start : wanted.stop]


class StepModels(OnnxModel):
    """The steps of a network, each a model, run by the driver of :mod:`vsr_plugin.ops.sweeps`.

    Memory: one frame's features.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        last = folder / "reconstruct.onnx"
        if not last.exists():
            raise VSRError(f"{folder}: not a folder of export_onnx.py --parts; missing: {last.name}")
        self._sessions = {"reconstruct": _open_model(last, threads)}
        self.about = _read_about(last, self._sessions["reconstruct"])
        self.scale = int(self.about["scale"])
        try:
            self.propagation = read_schedule(self.about.get("sweeps", ""))
        except ValueError as error:
            raise VSRError(f"{last}: does not say which sweeps there are; export the network again") from error
        # By what the models say, since other files may lie there that an earlier export has left.
        self.cleans = "clean_radius" in self.about
        self._open([*map(step_name, self.propagation.sweeps), *(["clean"] if self.cleans else [])], folder, threads)
        inputs = {node.name for session in self._sessions.values() for node in session.get_inputs()}
        self._open(sorted({"flow", "feature"} & inputs), folder, threads)
        self.uses_flow = "flow" in self._sessions

    def _open(self, names: Sequence[str], folder: Path, threads: int) -> None:
        missing = [name for name in names if not (folder / f"{name}.onnx").exists()]
        if missing:
            raise VSRError(f"{folder}: not a folder of export_onnx.py --parts; missing: {', '.join(sorted(missing))}")
        self._sessions |= {name: _open_model(folder / f"{name}.onnx", threads) for name in names}

    def run(self, name: str, **inputs: np.ndarray) -> np.ndarray:
        """The output of one model; inputs that it does not take are left out."""
        return _run_model(self._sessions[name], inputs)

    def steps(self, group: Group, inputs: Sequence[StepInputs]) -> tuple[np.ndarray, ...]:
        """See :meth:`vsr_plugin.models.driver.SequenceNet.steps`."""
        return tuple(self._step(sweep, of) for sweep, of in zip(group, inputs, strict=True))

    def _step(self, sweep: Sweep, inputs: StepInputs) -> np.ndarray:
        h, w = (side // int(self.about["feature_stride"]) for side in inputs.lr.shape[-2:])
        no_state = np.zeros((1, int(self.about["state_channels"]), h, w), np.float32)
        no_feature, no_flow = no_state[:, : int(self.about["mid_channels"])], np.zeros((1, 2, h, w), np.float32)
        flows = [no_flow if flow is None else flow for flow in inputs.flows]
        states = [no_state if state is None else state for state in inputs.states]
        return self.run(
            step_name(sweep),
            lr=inputs.lr,
            **dict(zip(numbered("flow", sweep.order), flows, strict=True)),
            **dict(zip(numbered("state", sweep.order), states, strict=True)),
            num_states=np.array(sum(state is not None for state in inputs.states)),
            feature=no_feature if inputs.feature is None else inputs.feature,
            is_keyframe=np.array(inputs.feature is not None),
            **{feat_name(other): feat for other, feat in zip(sweep.sees, inputs.seen, strict=True)},
        )

    @staticmethod
    def checkpointed(step: Callable) -> Callable:
        """There are no gradients to save memory for."""
        return step

    def begin_frame(self, store: Store, i: int, states: Mapping[Sweep, np.ndarray]) -> Callable[[], np.ndarray]:
        """See :meth:`vsr_plugin.models.driver.SequenceNet.begin_frame`."""
        feats = {feat_name(sweep): state for sweep, state in states.items()}
        return lambda: self.run("reconstruct", lr=store.lr(i), feature=store.feature(i), **feats)

    def _sequence(self, read, t, wanted, folder, on_frame):
        h, w, _ = read(0).shape
        with ExitStack() as stack:
            store = _StoreOnDisk(self, lambda i: as_tensor(read(i)), t, folder, stack)
            share = 1 / len(self.propagation.sweeps)
            if self.cleans:
                store.clean(lambda: on_frame(_CLEANING))
                share *= 1 - _CLEANING
            store.find_features()
            *earlier, last = self.propagation.sweeps
            for sweep in earlier:
                for (i,), (state,) in run_sweeps(self, (sweep,), range(t), store, {}):
                    store.keep(sweep, i, state)
                    on_frame(share)
            # Those beyond have served the earlier sweeps; going through them once more would be wasted.
            for i, _, result in begin_frames(self, (last,), range(wanted.stop), store, {}):
                on_frame(share * t / wanted.stop)
                if i in wanted:
                    yield result()[0, :, : self.scale * h, : self.scale * w]


class _StoreOnDisk(Store):
    """See :class:`vsr_plugin.ops.sweeps.Store`; frames are read, and all else waits, on the disk.

    Args:
        model: the network.
        frame: gives frame ``i`` as ``(3, h, w)``.
        t: length of the sequence.
        folder: for temporary files.
        stack: closes them.
    """

    def __init__(
        self, model: StepModels, frame: Callable[[int], np.ndarray], t: int, folder: Path, stack: ExitStack
    ) -> None:
        super().__init__(model.propagation, t)
        self._model, self._frame, self._t = model, frame, t
        self._open = lambda name: stack.enter_context(closing(Records(folder / name)))
        _, h, w = frame(0).shape
        multiple = int(model.about["size_multiple"])
        self._lines, self._columns = mirrored_indices(h, multiple), mirrored_indices(w, multiple)
        self._states, self._features, self._flows = map(self._open, ("states", "features", "flows"))
        stride = model.about.get("keyframe_stride")
        self._keyframes = set(keyframe_indices(t, int(stride) if stride else None))

    def clean(self, on_frame: Callable[[], None]) -> None:
        """Clean the frames, as often as they need it."""
        about, t = self._model.about, self._t
        radius, rounds = int(about["clean_radius"]), int(about["clean_rounds"])
        for number in range(rounds):
            cleaned, frame, residues = self._open(f"cleaned_{number}"), self._frame, 0.0
            for i in range(t):
                window = np.stack([frame(min(max(j, 0), t - 1)) for j in range(i - radius, i + radius + 1)])
                residue = self._model.run("clean", neighbours=window[None])[0]
                cleaned[i] = window[radius] + np.float32(about["clean_strength"]) * residue
                residues += np.abs(residue).mean()
                if not number:
                    on_frame()
            self._frame = cleaned.__getitem__
            if residues / t < float(about["clean_threshold"]):
                break

    def find_features(self) -> None:
        """Compute the features of the frames that have some."""
        for i in sorted(self._keyframes):
            window = neighbourhood_indices(i, self._t, int(self._model.about["padding"]))
            self._features[i] = self._model.run("feature", window=np.concatenate([self.lr(j) for j in window])[None])

    def lr(self, i: int) -> np.ndarray:
        return self._frame(i).take(self._lines, 1).take(self._columns, 2)[None]

    def flow(self, i: int, *, reverse: bool) -> np.ndarray | None:
        if not self._model.uses_flow:
            return None
        if (i, reverse) not in self._flows:
            supp = self.lr(i + 1 if reverse else i - 1)
            self._flows[i, reverse] = self._model.run("flow", ref=self.lr(i), supp=supp)
        return self._flows[i, reverse]

    def feature(self, i: int) -> np.ndarray | None:
        return self._features[i] if i in self._keyframes else None

    def state(self, sweep: Sweep, i: int) -> np.ndarray:
        return self._states[sweep.name, i]

    def keep(self, sweep: Sweep, i: int, state: np.ndarray) -> None:
        self._states[sweep.name, i] = state

    def done(self, i: int) -> None:
        pass  # the file goes as a whole


def _checked(hr: np.ndarray, frame: int) -> np.ndarray:
    if not np.isfinite(hr.sum(dtype=np.float64)):
        raise not_finite(frame)
    return hr


def load_model(path: Path, threads: int = 0) -> OnnxModel:
    """Open a model of ``tools/export_onnx.py``: a file, or a folder of its ``--parts``.

    Args:
        path: of it.
        threads: of onnxruntime; 0 for its own choice.

    Raises:
        VSRError: there is none, or onnxruntime cannot open it.
    """
    if not path.exists():
        raise VSRError(f"{path}: no such model; make one with tools/export_onnx.py")
    return StepModels(path, threads) if path.is_dir() else WholeModel(path, threads)


def _open_model(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    available = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions have no other common base
        raise VSRError(
            f"{path}: onnxruntime cannot open it ({_first_line(error)}); give a model of tools/export_onnx.py"
        ) from error


def _run_model(session: onnxruntime.InferenceSession, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The first output, of those of ``inputs`` that the model takes."""
    try:
        return session.run(None, {node.name: inputs[node.name] for node in session.get_inputs()})[0]
    except Exception as error:
        raise VSRError(
            f"onnxruntime failed ({_first_line(error)}); if the memory did not suffice, use --window, a folder of "
            "export_onnx.py --parts, or smaller frames"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _read_about(path: Path, session: onnxruntime.InferenceSession) -> dict[str, str]:
    """The metadata that export_onnx.py writes."""
    about = session.get_modelmeta().custom_metadata_map
    if "scale" not in about:
        raise VSRError(f"{path}: says nothing of its scale; give a model of tools/export_onnx.py")
    return about


def restore_clip(
    model: OnnxModel,
    source: FrameSource,
    sink: FrameSink,
    *,
    start: int = 0,
    num_frames: int | None = None,
    window: int | None = None,
    overlap: int = OVERLAP,
    bar: Callable[[int], Progress] | None = None,
) -> int:
    """Restore frames of a source into a sink and return how many there are; memory: a few frames.

    Args:
        model: the network.
        source: of the frames.
        sink: opened for that part of that source with the model's scale; frames wait in its folder.
        start: first frame, counted from 0.
        num_frames: number of frames; all that follow if ``None``.
        window: see :meth:`OnnxModel.restore`.
        overlap: see there.
        bar: opens a display for a number of frames and returns what is called with those that are done.
    """
    with closing(Records(sink.folder / "frames")) as frames, closing(Records(sink.folder / "alpha")) as alphas:
        infos: list[Frame] = []
        for i, frame in enumerate(source.frames(start, num_frames)):
            frames[i] = frame.rgb
            if frame.alpha is not None:
                alphas[i] = frame.alpha
            # An empty array stands for what waits on the disk.
            infos.append(replace(frame, rgb=frame.rgb[:0], alpha=None if frame.alpha is None else frame.alpha[:0]))
        progress = None if bar is None else bar(len(frames))
        options = dict(window=window, overlap=overlap, folder=sink.folder, progress=progress)
        for i, hr in enumerate(model.restore(frames, **options)):
            alpha = None if infos[i].alpha is None else _enlarge_alpha(alphas[i], hr.shape[:2])
            sink.write(replace(infos[i], rgb=hr, alpha=alpha))
    return len(infos)


def _enlarge_alpha(alpha: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Transparency ``(h, w)``, resized bicubically to ``size`` (rows, columns)."""
    larger = np.asarray(Image.fromarray(alpha.astype(np.float32)).resize(size[::-1], Image.Resampling.BICUBIC))
    return larger.round().clip(0, np.iinfo(alpha.dtype).max).astype(alpha.dtype)
