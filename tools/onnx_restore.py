"""Restore a clip with an exported model, without PyTorch and MMagic.

MODEL is a file of tools/export_onnx.py (the whole sequence in memory at once) or a folder of its --parts (backward
features go to a temporary file). INPUT is a video, a folder of images or an image, OUTPUT a video or a folder for PNG
files. Timestamps, sound, rotation, shape of pixels, colour and depth are carried over as by tools/restore_video.py,
which also restarts at scene cuts and restores in tiles.
Needs onnxruntime, numpy, av, pillow, OpenCV and the folder vsr_plugin of this checkout.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

# The package lies beside this folder; where PyTorch is missing it is hardly installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

absent: ImportError | None = None
try:
    import numpy as np
    import onnxruntime
    from PIL import Image

    from vsr_plugin.errors import VSRError
    from vsr_plugin.media import Encoding, Frame, open_sink, open_source
except ImportError as error:
    # Kept for `main`, so that --help works on a machine that is not prepared yet.
    absent = error

DISTRIBUTIONS = {"onnxruntime": "-r requirements/export.txt", "PIL": "pillow", "cv2": "opencv-python-headless"}


def explain_absence(error: ImportError) -> str:
    """What is missing and how to get it, in one line."""
    name = (error.name or "that it needs").partition(".")[0]
    if name == "vsr_plugin":
        return "the folder vsr_plugin is not beside tools/; run this tool in a whole checkout"
    what = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be imported ({error})"
    return f"the package {name} {what}; pip install {DISTRIBUTIONS.get(name, name)}"


def open_model(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    available = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions have no other common base
        raise VSRError(
            f"{path}: onnxruntime cannot open it ({first_line(error)}); give a model of tools/export_onnx.py"
        ) from error


def run_model(session: onnxruntime.InferenceSession, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The first output, of those of ``inputs`` that the model takes."""
    try:
        return session.run(None, {node.name: inputs[node.name] for node in session.get_inputs()})[0]
    except Exception as error:
        raise VSRError(
            f"onnxruntime failed ({first_line(error)}); if the memory did not suffice, take a folder of "
            "export_onnx.py --parts or smaller frames"
        ) from error


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def read_about(path: Path, session: onnxruntime.InferenceSession) -> dict[str, str]:
    """The metadata that export_onnx.py writes."""
    about = session.get_modelmeta().custom_metadata_map
    if "scale" not in about:
        raise VSRError(f"{path}: says nothing of its scale; give a model of tools/export_onnx.py")
    return about


def as_tensor(frames: np.ndarray) -> np.ndarray:
    """``uint8`` or ``uint16`` RGB ``(..., h, w, 3)`` as float32 ``(..., 3, h, w)`` in [0, 1]."""
    return np.moveaxis(frames.astype(np.float32) / np.iinfo(frames.dtype).max, -1, -3)


def as_pixels(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Float ``(3, h, w)`` as RGB ``(h, w, 3)`` of ``dtype``, ``uint8`` or ``uint16``."""
    return np.moveaxis((image.clip(0, 1) * np.iinfo(dtype).max).round(), 0, -1).astype(dtype)


def enlarge_alpha(alpha: np.ndarray | None, size: tuple[int, int]) -> np.ndarray | None:
    """Transparency ``(h, w)``, resized bicubically to ``size`` (rows, columns)."""
    if alpha is None:
        return None
    larger = np.asarray(Image.fromarray(alpha.astype(np.float32)).resize(size[::-1], Image.Resampling.BICUBIC))
    return larger.round().clip(0, np.iinfo(alpha.dtype).max).astype(alpha.dtype)


def pad_to_multiple(frame: np.ndarray, multiple: int) -> np.ndarray:
    """Extend ``(h, w, 3)`` at the bottom and right by reflection; where that ends, by the first line."""
    for axis in (0, 1):
        length = frame.shape[axis]
        beyond = np.arange(length, length + -length % multiple)
        mirrored = np.maximum(2 * (length - 1) - beyond, 0)
        frame = np.concatenate((frame, frame.take(mirrored, axis)), axis)
    return frame


def window_around(i: int, t: int, padding: int) -> list[int]:
    """Frames that the features of keyframe ``i`` of ``t`` frames are computed from."""

    def inside(j: int) -> int:
        beyond = max(-j, j - (t - 1))
        if beyond <= 0:
            return j
        if beyond + padding < t:
            return beyond + padding if j < 0 else t - 1 - beyond - padding
        period = max(2 * (t - 1), 1)
        return min(j % period, period - j % period)

    return [inside(j) for j in range(i - padding, i + padding + 1)]


class Steps:
    """The steps of a network, each a model, driven backward and then forward in time."""

    def __init__(self, folder: Path, threads: int):
        names = [path.stem for path in sorted(folder.glob("*.onnx"))]
        missing = {"flow", "backward_step", "forward_step", "reconstruct"} - set(names)
        if missing:
            raise VSRError(f"{folder}: not a folder of export_onnx.py --parts; missing: {', '.join(sorted(missing))}")
        self.sessions = {name: open_model(folder / f"{name}.onnx", threads) for name in names}
        self.about = read_about(folder / "flow.onnx", self.sessions["flow"])
        self.scale = int(self.about["scale"])

    def run(self, name: str, **inputs: np.ndarray) -> np.ndarray:
        return run_model(self.sessions[name], inputs)

    def restore(self, frames: list[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield HR frames ``(scale * h, scale * w, 3)`` of the dtype of ``frames``, ``uint8`` or ``uint16``."""
        h, w, _ = frames[0].shape
        scale, c = self.scale, int(self.about["mid_channels"])
        t = len(frames)

        def lr(i: int) -> np.ndarray:
            return as_tensor(pad_to_multiple(frames[i], int(self.about["size_multiple"])))[None]

        zeros = np.zeros((1, c, *lr(0).shape[-2:]), np.float32)
        no_flow = zeros[:, :2]
        stride, padding = int(self.about.get("keyframe_stride", t)), int(self.about.get("padding", 0))

        def is_keyframe(i: int) -> bool:
            return "refill" in self.sessions and (i % stride == 0 or i == t - 1)

        with tempfile.TemporaryDirectory(prefix="onnx_restore-") as folder:

            def on_disk(name: str, count: int) -> np.ndarray:
                return np.memmap(Path(folder) / name, np.float32, "w+", shape=(count, *zeros.shape))

            backward_feats = on_disk("backward", t)
            keyframes = [i for i in range(t) if is_keyframe(i)]
            refills = on_disk("refill", max(len(keyframes), 1))
            for k, i in enumerate(keyframes):
                window = np.concatenate([lr(j) for j in window_around(i, t, padding)])[None]
                refills[k] = self.run("refill", window=window)

            def step_inputs(i: int, neighbour: int | None, state: np.ndarray) -> dict[str, np.ndarray]:
                frame = lr(i)
                flow = no_flow if neighbour is None else self.run("flow", ref=frame, supp=lr(neighbour))
                key = is_keyframe(i)
                refill = refills[keyframes.index(i)] if key else zeros
                return dict(lr=frame, flow=flow, state=state, refill=refill, is_keyframe=np.array(key))

            state = zeros
            for i in reversed(range(t)):
                state = self.run("backward_step", **step_inputs(i, i + 1 if i + 1 < t else None, state))
                backward_feats[i] = state
            state = zeros
            for i in range(t):
                inputs = step_inputs(i, i - 1 if i > 0 else None, state)
                state = self.run("forward_step", **inputs, backward_feat=backward_feats[i])
                hr = self.run("reconstruct", lr=inputs["lr"], backward_feat=backward_feats[i], forward_feat=state)
                yield as_pixels(hr[0], frames[i].dtype)[: scale * h, : scale * w]


class Whole:
    """One model for whole sequences."""

    def __init__(self, path: Path, threads: int):
        self.session = open_model(path, threads)
        if [node.name for node in self.session.get_inputs()] != ["lrs"]:
            raise VSRError(f"{path}: not a whole-sequence model of export_onnx.py; for its --parts name the folder")
        self.scale = int(read_about(path, self.session)["scale"])

    def restore(self, frames: list[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield HR frames ``(scale * h, scale * w, 3)`` of the dtype of ``frames``, ``uint8`` or ``uint16``."""
        hrs = run_model(self.session, dict(lrs=np.stack([as_tensor(frame) for frame in frames])[None]))
        for hr, frame in zip(hrs[0], frames, strict=True):
            yield as_pixels(hr, frame.dtype)


def load_model(path: Path, threads: int) -> Steps | Whole:
    if not path.exists():
        raise VSRError(f"{path}: no such model; make one with tools/export_onnx.py")
    return Steps(path, threads) if path.is_dir() else Whole(path, threads)


def restore_clip(args: argparse.Namespace) -> None:
    """Restore the input into the output and print what a person wants to know."""
    model = load_model(args.model, args.threads)
    codec = args.codec or ("libvpx-vp9" if args.output.lower().endswith(".webm") else "libx264")
    encoding = Encoding(codec=codec, audio=not args.no_audio, frame_rate=args.fps)
    with open_source(args.input, deinterlace=args.deinterlace) as source:
        # Open before the long work: what is wrong with the output is said at once.
        with open_sink(args.output, source, scale=model.scale, overwrite=args.overwrite, encoding=encoding) as sink:
            frames: list[Frame] = list(source.frames())
            for frame, hr in zip(frames, model.restore([frame.rgb for frame in frames]), strict=True):
                sink.write(replace(frame, rgb=hr, alpha=enlarge_alpha(frame.alpha, hr.shape[:2])))
        for note in (*source.notes, *sink.notes):
            print(f"note: {note}")
    print(f"{args.output}: {len(frames)} frames")


def terminate(*_: object) -> None:
    print("terminated; nothing was written under the final name", file=sys.stderr)
    sys.exit(143)


def frame_rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except ZeroDivisionError as error:
        raise ValueError(text) from error
    if rate <= 0:
        raise ValueError(text)
    return rate


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("input")
    parser.add_argument("output")
    parser.add_argument("--threads", type=int, default=0, help="threads of onnxruntime; 0 for its own choice")
    parser.add_argument("--overwrite", action="store_true", help="replace an output that exists")
    parser.add_argument("--codec", help="FFmpeg video encoder (default: libx264; libvpx-vp9 for .webm)")
    parser.add_argument("--no-audio", action="store_true", help="leave the sound out")
    parser.add_argument(
        "--deinterlace", default="auto", choices=("auto", "on", "fields", "film", "off"),
        help="make whole frames of interlaced video, as in restore_video.py (default: where the video says that it is)",
    )  # fmt: skip
    parser.add_argument(
        "--fps", type=frame_rate, metavar="R", help="frame rate for a folder of images, e.g. 30000/1001 (default: 25)"
    )
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    if absent is not None:
        print(f"error: {explain_absence(absent)}", file=sys.stderr)
        return 1
    # A termination signal unwinds like Ctrl-C, so that files in progress are removed.
    signal.signal(signal.SIGTERM, terminate)
    try:
        restore_clip(args)
    except VSRError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except MemoryError:
        print("error: out of memory; take a folder of export_onnx.py --parts, or a shorter clip", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing was written under the final name", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
