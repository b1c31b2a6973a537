"""Several inputs into one folder."""

import os
from collections.abc import Sequence
from pathlib import Path

from vsr_plugin.errors import MediaError
from vsr_plugin.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from vsr_plugin.restoration.job import JobFolder


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
        target = os.fspath(folder / _name(Path(path)))
        if target in pairs:
            raise MediaError(f"{pairs[target]} and {path} would both become {target}; rename one or do them apart")
        pairs[target] = path
    return [(path, target) for target, path in pairs.items()]


def _name(path: Path) -> str:
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
