"""The files that a restoration makes: checked against those that it reads, which are somebody's originals."""

import os
from pathlib import Path

from vsr_plugin.errors import MediaError
from vsr_plugin.media import FrameSource
from vsr_plugin.media.open import check_not_read, check_target
from vsr_plugin.restoration.options import RestoreOptions, quality_csv_path


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
