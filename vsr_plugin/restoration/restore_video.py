"""Restore a video or a folder of images into a video or a folder: files in, files out.

The work is a job (:mod:`vsr_plugin.restoration.job`): it can be killed and resumed, and several processes can share it.
"""

import errno
import os
from collections.abc import Callable
from contextlib import ExitStack

import torch.nn as nn

from vsr_plugin.errors import MediaError, give_hint
from vsr_plugin.media import FrameSource, open_segmented, open_source
from vsr_plugin.media.segmented import SegmentedOutput
from vsr_plugin.restoration.ground_truth import check_ground_truth
from vsr_plugin.restoration.job import JobFolder
from vsr_plugin.restoration.options import RestoreOptions, RestoreResult
from vsr_plugin.restoration.restore_task import RestoreTask
from vsr_plugin.restoration.result_files import check_results
from vsr_plugin.restoration.sharing import Sharing

#: What a disk can do wrong; what writes results says so by itself.
_DISK_FAULTS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EMFILE,
    errno.ENFILE,
}


def restore_video(
    input_path: str | os.PathLike,
    output_path: str | os.PathLike,
    net: nn.Module,
    options: RestoreOptions = RestoreOptions(),
    *,
    on_open: Callable[[FrameSource], None] | None = None,
    progress: Callable[[float], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    sharing: Sharing = Sharing(),
) -> RestoreResult | None:
    """Restore a video file, a folder of images or an image, enlarged as the network does or to the size asked for.

    Everything appears under its final name at the end or not at all. Timestamps, audio, rotation, pixel shape and
    colour description of a video are carried over; transparency of images is resized bicubically, and grey
    images stay grey.

    What is finished is kept in a hidden folder beside the output, ``.NAME.job``, until the end. If the work is stopped
    by anything, it goes on there with ``resume``, and the result is that of a run that was not stopped; with
    ``overwrite`` instead it starts afresh, and with neither it refuses.

    Args:
        input_path: video file, folder of images or image.
        output_path: video file, or folder for PNG files.
        net: ``BasicVSRNet`` or ``IconVSRNet`` in evaluation mode, on the device that is to compute.
        options: what to restore and how to keep it.
        on_open: called with the input when it is open and the output has proved writable.
        progress: called with the number of frames done since the last call, see :func:`restore_frames`.
        on_note: called, in every process, with a line for a person when it is decided how something is restored, and
            when that changes on the way; the notes of the result hold those of the first process too.
        sharing: the processes that all call this function with equal arguments, to share the work.

    Returns:
        What was produced; ``None`` in all processes but the first.

    Raises:
        MediaError: an input or output cannot be used, or belongs to another job; the text says which, why, and what
            to do.
        VSRError: the memory does not suffice, another process has failed, the network cannot forget as asked, the
            output would be larger than a video can be, or is too small to be compared with ground truth.
    """
    if options.scene_cuts not in ("auto", "on", "off"):
        raise ValueError(f"`scene_cuts` must be 'auto', 'on' or 'off', got {options.scene_cuts!r}")
    with ExitStack() as stack:
        source = stack.enter_context(open_source(input_path, deinterlace=options.deinterlace))
        size = options.output_size.of_source(source, net.scale)
        gt = _open_gt(stack, source, options, size)
        job = JobFolder(check_results(output_path, source, gt, options))
        task = RestoreTask(source, net, options, job, _open_output(output_path, source, job, size, options), sharing)
        try:
            task.begin(output_path)
            if on_open is not None and sharing.is_first:
                on_open(source)
            if not task.joined:
                task.work(gt, progress or (lambda count: None), on_note or (lambda line: None))
            sharing.wait()
            result = task.finish(output_path) if sharing.is_first else None
            sharing.wait()
        except BaseException as error:
            hint = job.leave()
            if isinstance(error, OSError) and error.errno in _DISK_FAULTS:
                failed = MediaError(
                    f"{error.filename or job.path}: unfinished work cannot be kept there ({error.strerror}); free "
                    "space or choose another place for the output"
                )
                give_hint(failed, hint)
                raise failed from error
            give_hint(error, hint)
            raise
        return result


def _open_gt(
    stack: ExitStack, source: FrameSource, options: RestoreOptions, size: tuple[int, int]
) -> FrameSource | None:
    if options.gt is None:
        return None
    gt = stack.enter_context(open_source(options.gt))
    check_ground_truth(gt, source, size, options)
    return gt


def _open_output(
    output_path: str | os.PathLike, source: FrameSource, job: JobFolder, size: tuple[int, int], options: RestoreOptions
) -> SegmentedOutput:
    return open_segmented(
        output_path,
        source,
        job.path,
        size=size,
        start=options.start,
        num_frames=options.num_frames,
        overwrite=options.overwrite,
        encoding=options.encoding,
    )
