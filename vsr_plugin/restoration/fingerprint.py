"""What a restoration depends on, in words and numbers that can be compared when it is resumed."""

import hashlib
from datetime import datetime

import torch
import torch.nn as nn

import vsr_plugin
from vsr_plugin.media import FrameSource, ImageFolderSource
from vsr_plugin.media.segmented import SegmentedOutput
from vsr_plugin.models.propagation import with_forgetting
from vsr_plugin.models.vsr_net import with_ensemble
from vsr_plugin.restoration.options import RestoreOptions
from vsr_plugin.settings import compared_settings

#: Of what a job keeps; one begun with another layout cannot be resumed. 3: its shots are listed. 4: times count from
#: the beginning of the file.
_LAYOUT = 4


def of_net(net: nn.Module) -> str:
    """SHA-256 of a network's kind, settings and weights, whatever device, layout or file they are in."""
    digest = hashlib.sha256(type(net).__name__.encode())
    settings = {k: v for k, v in vars(net).items() if isinstance(v, int | float | str) and not k.startswith("_")}
    if not settings.get("forgetting"):
        settings.pop("forgetting", None)  # so that records of studies from before there was forgetting stay valid
    if settings.get("scale") == 4:
        del settings["scale"]  # and those from before there were others
    if settings.get("ensemble") == 1:
        del settings["ensemble"]
    digest.update(repr(sorted(settings.items())).encode())
    # What local propagation cuts, and alignments without layers, show neither in settings nor in weights.
    digest.update(net.components.encode())
    if (cleaning := net.cleaning) is not None:
        told = () if cleaning.quantiser_step is None else (cleaning.quantiser_step,)
        digest.update(repr((cleaning.max_rounds, cleaning.threshold, cleaning.strength, *told)).encode())
    for name, tensor in net.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def of_input(source: FrameSource) -> str:
    """Size and time of the last change of a file, or of all files of a folder."""
    if not isinstance(source, ImageFolderSource):
        status = source.path.stat()
        return f"{status.st_size} bytes of {_date(status.st_mtime_ns)}"
    digest = hashlib.sha256()
    for file in source.files:
        status = file.stat()
        digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\\n".encode())
    return f"{len(source.files)} files ({digest.hexdigest()[:12]})"


def _date(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}.{rest:09d}"


def of_job(
    source: FrameSource, net: nn.Module, options: RestoreOptions, output: SegmentedOutput, forgets_from: int
) -> dict[str, object]:
    """Everything that the result of restoring ``source`` with ``net`` depends on.

    Args:
        source: the input.
        net: the network.
        options: what is asked for.
        output: where it goes.
        forgets_from: length in frames from which on a shot is restored with the network's forgetting.
    """
    settings = compared_settings(options)
    # A video keeps its rate, and images are not encoded.
    if source.has_own_rate:
        del settings["encoding frame rate"]
    if output.kind != "video":
        settings = {name: value for name, value in settings.items() if not name.startswith("encoding ")}
    return {
        "version": vsr_plugin.__version__,
        "layout of the job": _LAYOUT,
        "forgetting": f"{net.forgetting:g}" + (f" in scenes of {forgets_from} frames or more" if forgets_from else ""),
        "input": str(source.path.resolve()),
        "input content": of_input(source),
        "network": type(net).__name__,
        "weights": of_net(with_ensemble(with_forgetting(net, 0), 1)),
        "output size": "{1}x{0}".format(*output.size),
        **settings,
    }
