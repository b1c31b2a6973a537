"""The files that a restoration makes: their names, and checks against what it reads, which is somebody's originals."""

import os
from collections.abc import Sequence
from pathlib import Path

from vsr_plugin.errors import MediaError
from vsr_plugin.files import in_one_line
from vsr_plugin.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, FrameSource, natural_key
from vsr_plugin.media.open import check_not_read, check_target
from vsr_plugin.restoration.job import JobFolder
from vsr_plugin.restoration.options import RestoreOptions


def with_videos_of_folders(inputs: Sequence[str]) -> list[str]:
    """The inputs, with the videos of a folder that holds no images in its place, in natural order.

    Args:
        inputs: paths.

    Raises:
        MediaError: a folder cannot be read.
    """
    found = []
    for path in inputs:
        with in_one_line(path, "cannot be read"):
            names = sorted(os.listdir(path), key=natural_key) if os.path.isdir(path) else []
        shown = [name for name in names if not name.startswith(".")]
        videos = [name for name in shown if Path(name).suffix.lower() in VIDEO_SUFFIXES]
        images = any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in shown)
        found += [os.path.join(path, name) for name in videos] if videos and not images else [path]
    return found


def pair_outputs(
    inputs: Sequence[str], output: str, *, of_folder: bool = False, make: bool = True
) -> list[tuple[str, str]]:
    """Say which output belongs to which input.

    Args:
        inputs: videos, folders of images or images.
        output: of one input, its output; of several, a folder that exists or whose name ends in ``/``, in which videos
            keep their names (with ``.mp4`` where their kind cannot be written) and images get folders of their names.
        of_folder: they are what :func:`with_videos_of_folders` has found, which goes into a folder where it is one
            video, too, unless ``output`` is the name of a video.
        make: make the folder if it is not there; without it nothing is written.

    Returns:
        Pairs of input and output.

    Raises:
        MediaError: the output is no folder, or two inputs would become one output.
    """
    folder = Path(output)
    with in_one_line(output):
        is_folder = folder.is_dir()
    is_named_so = output.endswith(("/", os.sep))
    names_video = folder.suffix.lower() in VIDEO_SUFFIXES and not is_folder and not is_named_so
    if len(inputs) == 1 and (names_video or not of_folder):
        return [(inputs[0], output)]
    if not is_folder:
        if not is_named_so:
            raise MediaError(
                f"{output}: several inputs need a folder, and so do the videos of one; make it, or end its name in /"
            )
        try:
            if make:
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
    """What an output in another folder is called: as the input, with a video's extension only if it can be written.

    Folders and images become folders, in whose names dots are replaced: what follows one would say the kind of a file.
    """
    with in_one_line(path, "cannot be read"):
        resolved = path.resolve()
        is_folder = resolved.is_dir()
    suffix = resolved.suffix.lower()
    if is_folder or suffix in IMAGE_SUFFIXES:
        return (resolved.name if is_folder else resolved.stem).replace(".", "_")
    return resolved.stem + (suffix if suffix in VIDEO_SUFFIXES else ".mp4")


def is_done(output: str) -> bool:
    """Whether an output is there and no job of it is left: what resuming several inputs can skip."""
    path = Path(output)
    with in_one_line(path, "cannot be read"):
        there = any(not entry.name.startswith(".") for entry in path.iterdir()) if path.is_dir() else path.exists()
        return there and not JobFolder(path).path.exists()


def quality_csv_path(output: str | os.PathLike) -> Path:
    """Where the per-frame figures of ``output`` go: beside it, its name plus ``_quality.csv``."""
    return _beside(output, "_quality.csv")


def preview_path(output: str | os.PathLike, *, one_of_several: bool = False) -> Path:
    """Where the picture of ``--preview`` goes: beside the output, its name plus ``_preview.png``.

    Args:
        output: video or folder.
        one_of_several: there are others in its folder, which may differ from it in the extension alone.
    """
    return _beside(output, "_preview.png", whole_name=one_of_several)


def _beside(output: str | os.PathLike, ending: str, *, whole_name: bool = False) -> Path:
    output = Path(output)
    if output.name in ("", ".."):  # ``.`` is one without a name
        output = output.resolve()
    return output.parent / f"{output.name if whole_name else output.stem}{ending}"


def check_results(
    output_path: str | os.PathLike, source: FrameSource, gt: FrameSource | None, options: RestoreOptions
) -> Path:
    """Return the output; writes nothing.

    Raises:
        MediaError: a result would be written over the input, the ground truth or another result, or the output is
            neither a video that can be written nor a folder.
    """
    output, images = check_target(output_path, source)
    side_files = [] if gt is None else [quality_csv_path(output_path)]
    if options.comparison is not None:
        side_files.append(Path(options.comparison))
    for path in side_files:
        check_not_read(path, source)
        if path.resolve() == output.resolve():
            raise MediaError(f"{path}: is the output as well; choose another name")
        if images is not None and images.kind == "folder" and path.resolve().parent == output.resolve():
            raise MediaError(f"{path}: is in the output, where it could replace a frame; choose another folder")
    if gt is not None:
        for path in (output, *side_files):
            check_not_read(path, gt, "the ground truth")
        if gt.kind == "folder" and gt.path.resolve().is_relative_to(output.resolve()):
            raise MediaError(f"{output}: holds the ground truth, {gt.path}; choose another output")
    return output
