"""The files that a restoration makes: their names, and checks against what it reads, which is somebody's originals."""

import os
from collections.abc import Sequence
from pathlib import Path

from vsr_plugin.errors import MediaError
from vsr_plugin.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, FrameSource, natural_key
from vsr_plugin.media.open import check_not_read, check_target
from vsr_plugin.restoration.job import JobFolder
from vsr_plugin.restoration.options import RestoreOptions


def with_videos_of_folders(inputs: Sequence[str]) -> list[str]:
    """The inputs, with the videos of a folder that holds no images in its place, in natural order.

    Args:
        inputs: paths.
    """
    found = []
    for path in inputs:
        names = sorted(os.listdir(path), key=natural_key) if os.path.isdir(path) else []
        shown = [name for name in names if not name.startswith(".")]
        videos = [name for name in shown if Path(name).suffix.lower() in VIDEO_SUFFIXES]
        images = any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in shown)
        found += [os.path.join(path, name) for name in videos] if videos and not images else [path]
    return found


def pair_outputs(inputs: Sequence[str], output: str) -> list[tuple[str, str]]:
    """Say which output belongs to which input.

    Args:
        inputs: videos, folders of images or images.
        output: of one input, its output; of several, a folder that exists or whose name ends in ``/``, in which videos
            keep their names (with ``.mp4`` where their kind cannot be written) and images get folders of their names.

    Returns:
        Pairs of input and output.

    Raises:
        MediaError: the output is no folder, or two inputs would become one output.
    """
    if len(inputs) == 1:
        return [(inputs[0], output)]
    folder = Path(output)
    if not folder.is_dir():
        if not output.endswith(("/", os.sep)):
            raise MediaError(f"{output}: several inputs need a folder; make it, or end its name in /")
        try:
            folder.mkdir()
        except OSError as error:
            raise MediaError(f"{output}: cannot be made ({error.strerror}); make the folder first") from error
    pairs: dict[str, str] = {}
    for path in inputs:
        target = os.fspath(folder / usual_name(Path(path)))
        if target in pairs:
            raise MediaError(f"{pairs[target]} and {path} would both become {target}; rename one or do them apart")
        pairs[target] = path
    return [(path, target) for target, path in pairs.items()]


def usual_name(path: Path) -> str:
    """What an output in another folder is called: as the input, with a video's extension only if it can be written."""
    resolved = path.resolve()
    suffix = resolved.suffix.lower()
    if resolved.is_dir():
        return resolved.name
    if suffix in IMAGE_SUFFIXES:
        return resolved.stem
    return resolved.stem + (suffix if suffix in VIDEO_SUFFIXES else ".mp4")


def is_done(output: str) -> bool:
    """Whether an output is there and no job of it is left: what resuming several inputs can skip."""
    path = Path(output)
    there = any(not entry.name.startswith(".") for entry in path.iterdir()) if path.is_dir() else path.exists()
    return there and not JobFolder(path).path.exists()


def quality_csv_path(output: str | os.PathLike) -> Path:
    """Where the per-frame figures of ``output`` go: beside it, its name plus ``_quality.csv``."""
    output = Path(output)
    return output.with_name(f"{output.stem}_quality.csv")


def preview_path(output: str | os.PathLike) -> Path:
    """Where the picture of ``--preview`` goes: beside the output, its name plus ``_preview.png``."""
    output = Path(output)
    return output.with_name(f"{output.stem}_preview.png")


def check_results(
    output_path: str | os.PathLike, source: FrameSource, gt: FrameSource | None, options: RestoreOptions
) -> Path:
    """Return the output; writes nothing.

    Raises:
        MediaError: a result would be written over the input, the ground truth or another result, or the output is
            neither a video that can be written nor a folder.
    """
    output, _ = check_target(output_path, source)
    side_files = [] if gt is None else [quality_csv_path(output_path)]
    if options.comparison is not None:
        side_files.append(Path(options.comparison))
    for path in side_files:
        check_not_read(path, source)
        if path.resolve() == output.resolve():
            raise MediaError(f"{path}: is the output as well; choose another name")
    if gt is not None:
        for path in (output, *side_files):
            check_not_read(path, gt, "the ground truth")
        if gt.kind == "folder" and gt.path.resolve().is_relative_to(output.resolve()):
            raise MediaError(f"{output}: holds the ground truth, {gt.path}; choose another output")
    return output
