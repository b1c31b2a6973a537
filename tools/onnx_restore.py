"""Restore a clip with an exported model: needs onnxruntime, numpy, and PyAV or Pillow; not PyTorch, not this package.

MODEL is a file of tools/export_onnx.py (the whole sequence in memory at once) or a folder of its --parts (backward
features go to a temporary file). INPUT is a video or a folder of images, OUTPUT a video or a new folder for PNG files.
Sound is not carried over; tools/restore_video.py does that and more.
"""

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnxruntime

VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


class InputError(Exception):
    """What the person who called the tool can change."""


def open_model(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    available = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions have no other common base
        raise InputError(f"{path}: onnxruntime cannot open it: {str(error).splitlines()[0]}") from error


def as_tensor(frames: np.ndarray) -> np.ndarray:
    """``uint8`` RGB ``(..., h, w, 3)`` as float32 ``(..., 3, h, w)`` in [0, 1]."""
    return np.moveaxis(frames.astype(np.float32) / 255, -1, -3)


def as_bytes(image: np.ndarray) -> np.ndarray:
    """Float ``(3, h, w)`` as ``uint8`` RGB ``(h, w, 3)``."""
    return np.moveaxis((image.clip(0, 1) * 255).round(), 0, -1).astype(np.uint8)


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
            raise InputError(f"{folder}: not a folder of export_onnx.py --parts; missing: {', '.join(sorted(missing))}")
        self.sessions = {name: open_model(folder / f"{name}.onnx", threads) for name in names}
        self.about = self.sessions["flow"].get_modelmeta().custom_metadata_map

    def run(self, name: str, **inputs: np.ndarray) -> np.ndarray:
        session = self.sessions[name]
        return session.run(None, {node.name: inputs[node.name] for node in session.get_inputs()})[0]

    def restore(self, frames: list[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield HR frames ``uint8 (scale * h, scale * w, 3)``."""
        h, w, _ = frames[0].shape
        scale, c = int(self.about["scale"]), int(self.about["mid_channels"])
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
                yield as_bytes(hr[0])[: scale * h, : scale * w]


class Whole:
    """One model for whole sequences."""

    def __init__(self, path: Path, threads: int):
        self.session = open_model(path, threads)
        if [node.name for node in self.session.get_inputs()] != ["lrs"]:
            raise InputError(f"{path}: not a whole-sequence model of export_onnx.py; for its --parts name the folder")

    def restore(self, frames: list[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield HR frames ``uint8 (scale * h, scale * w, 3)``."""
        (hrs,) = self.session.run(None, dict(lrs=as_tensor(np.stack(frames))[None]))
        yield from map(as_bytes, hrs[0])


def load_model(path: Path, threads: int) -> Steps | Whole:
    if not path.exists():
        raise InputError(f"{path}: no such model")
    return Steps(path, threads) if path.is_dir() else Whole(path, threads)


def read_clip(path: Path) -> tuple[list[np.ndarray], Fraction]:
    """Frames ``uint8 (h, w, 3)`` and frames a second."""
    if path.is_dir():
        from PIL import Image

        files = [file for file in path.iterdir() if file.suffix.lower() in IMAGES]
        files.sort(key=lambda file: [int(s) if s.isdigit() else s for s in re.split(r"(\d+)", file.name)])
        frames, rate = [np.array(Image.open(file).convert("RGB")) for file in files], Fraction(25)
    elif path.is_file():
        import av

        try:
            with av.open(str(path)) as container:
                rate = container.streams.video[0].average_rate or Fraction(25)
                frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        except (av.FFmpegError, IndexError) as error:
            raise InputError(f"{path}: cannot be read as a video") from error
    else:
        raise InputError(f"{path}: no such video or folder")
    if not frames:
        raise InputError(f"{path}: holds no frames")
    if len({frame.shape for frame in frames}) > 1:
        raise InputError(f"{path}: its frames have different sizes")
    return frames, rate


def write_images(path: Path, frames: Iterator[np.ndarray]) -> None:
    from PIL import Image

    path.mkdir()
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"{i:08d}.png")


def write_video(path: Path, frames: Iterator[np.ndarray], rate: Fraction) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "14"})
        stream.pix_fmt = "yuv420p"
        for i, frame in enumerate(frames):
            if i == 0:
                stream.height, stream.width = frame.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def write_clip(path: Path, frames: Iterator[np.ndarray], rate: Fraction) -> None:
    """Write beside the target under another name, and give the final name at the end."""
    if path.exists() or not path.parent.is_dir():
        raise InputError(f"{path}: {'exists already' if path.exists() else 'its folder does not exist'}")
    partial = path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")
    try:
        if path.suffix.lower() in VIDEOS:
            write_video(partial, frames, rate)
        else:
            write_images(partial, frames)
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial) if partial.is_dir() else partial.unlink(missing_ok=True)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--threads", type=int, default=0, help="threads of onnxruntime; 0 for its own choice")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    try:
        model = load_model(args.model, args.threads)
        frames, rate = read_clip(args.input)
        write_clip(args.output, model.restore(frames), rate)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{args.output}: {len(frames)} frames")
    return 0


if __name__ == "__main__":
    sys.exit(main())
