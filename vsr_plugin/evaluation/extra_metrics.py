"""Figures beside PSNR and SSIM: NIQE and LPIPS of single frames, those of frames with their neighbours, VMAF."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation import temporal
from vsr_plugin.evaluation.quality import Protocol

_NIQE = (
    "NIQE: Mittal et al., IEEE SPL 2013, on Y with MMagic's model of pristine pictures, blocks of 96x96, without "
    "ground truth; lower is better"
)
#: Side of one of its blocks.
_BLOCK = 96


def niqe(frame: np.ndarray) -> float | None:
    """NIQE of a frame, RGB ``(h, w, 3)`` of ``uint8``; ``None`` where fewer than two blocks fit into it."""
    if (frame.shape[0] // _BLOCK) * (frame.shape[1] // _BLOCK) < 2:
        return None
    from mmagic.evaluation.metrics.niqe import niqe as of_bgr

    return float(of_bgr(np.ascontiguousarray(frame[..., ::-1]), crop_border=0))


_LPIPS = (
    "LPIPS: Zhang et al., CVPR 2018, package lpips, version 0.1 of its weights, AlexNet, RGB in [-1, 1], whole frames; "
    "lower is better"
)


@functools.cache
def _network() -> torch.nn.Module:
    try:
        import lpips
    except Exception as error:  # its torchvision fails in many ways where it does not fit PyTorch
        raise VSRError(
            f"LPIPS needs the package lpips, which cannot be imported here ({type(error).__name__}: {error}); "
            "run: pip install lpips (with the torchvision that fits your PyTorch), or leave lpips out of the metrics"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return lpips.LPIPS(net="alex", verbose=False).eval()
    except Exception as error:  # AlexNet's own weights are downloaded at first use
        raise VSRError(f"LPIPS: AlexNet's weights cannot be had ({error}); run it once with a network") from None


def check_lpips() -> None:
    """Find out before long work whether LPIPS can be computed.

    Raises:
        VSRError: the package or its weights cannot be had; the text says what to do.
    """
    _network()


@torch.no_grad()
def lpips_distance(restored: np.ndarray, gt: np.ndarray) -> float:
    """LPIPS of a frame against its ground truth, RGB ``(h, w, 3)`` of ``uint8``.

    Raises:
        VSRError: see :func:`check_lpips`.
    """

    def tensor(frame: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float() / 127.5 - 1

    return float(_network()(tensor(restored), tensor(gt)))


VMAF = "VMAF: FFmpeg's libvmaf with its model for 1080p, mean over the frames of a clip; 100 is best"
#: How frames are handed over: nothing is lost before FFmpeg itself makes Y, Cb and Cr of them.
_RAW = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-r", "25")


@functools.cache
def _ffmpeg() -> str:
    candidates = [shutil.which("ffmpeg")]
    try:
        import imageio_ffmpeg

        candidates.insert(0, imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        pass
    for ffmpeg in filter(None, candidates):
        filters = subprocess.run([ffmpeg, "-hide_banner", "-filters"], capture_output=True, text=True, check=False)
        if " libvmaf " in filters.stdout:
            return ffmpeg
    raise VSRError(
        "VMAF needs an FFmpeg with libvmaf; run: pip install imageio-ffmpeg, or leave vmaf out of the metrics"
    )


def check_vmaf() -> None:
    """Find out before long work whether VMAF can be computed.

    Raises:
        VSRError: there is no FFmpeg that can; the text says what to do.
    """
    _ffmpeg()


def clip_vmaf(restored: Sequence[np.ndarray], gt: Sequence[np.ndarray]) -> float:
    """VMAF (Netflix) of a clip against its ground truth.

    Args:
        restored: RGB frames ``(h, w, 3)`` of ``uint8``.
        gt: the same.

    Returns:
        From 0 to 100; mean over the frames.

    Raises:
        VSRError: see :func:`check_vmaf`; or FFmpeg fails.
    """
    size = f"{gt[0].shape[1]}x{gt[0].shape[0]}"
    with tempfile.TemporaryDirectory(prefix="vsr_plugin-") as folder:
        for name, frames in (("restored", restored), ("gt", gt)):
            _write_raw(Path(folder, name), frames)
        as_yuv = "[0:v]format=yuv444p[restored];[1:v]format=yuv444p[gt]"
        command = [_ffmpeg(), "-v", "error", *_RAW, "-s", size, "-i", "restored", *_RAW, "-s", size, "-i", "gt"]
        command += ["-lavfi", f"{as_yuv};[restored][gt]libvmaf=log_fmt=json:log_path=log", "-f", "null", "-"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        log = Path(folder, "log")
        if done.returncode or not log.exists():
            reason = done.stderr.strip().splitlines()[-1:] or ["no result"]
            raise VSRError(f"VMAF: {command[0]} fails on frames of {size} ({reason[0]}); leave vmaf out of the metrics")
        return float(json.loads(log.read_text())["pooled_metrics"]["vmaf"]["mean"])


def _write_raw(path: Path, frames: Iterable[np.ndarray]) -> None:
    with path.open("wb") as file:
        for frame in frames:
            file.write(np.ascontiguousarray(frame).data)


#: What can be asked for, and its definition.
DEFINITIONS = {
    **temporal.DEFINITIONS,
    "regions": temporal.REGIONS_DEFINITION,
    "lpips": _LPIPS,
    "niqe": _NIQE,
}
#: Those that look at neighbouring frames.
TEMPORAL = (*temporal.DEFINITIONS, "regions")


def definitions_of(figures: Iterable[str]) -> list[str]:
    """What the figures of a frame are, a line for each metric that they belong to."""
    figures = set(figures)
    first_of = {name: name for name in DEFINITIONS} | {"regions": f"psnr_{temporal.REGIONS[0]}"}
    return [text for name, text in DEFINITIONS.items() if first_of[name] in figures]


def check_metrics(names: Sequence[str], *, all_frames: bool = True) -> None:
    """Find out before long work whether figures can be taken.

    Args:
        names: of figures.
        all_frames: whether every frame of a clip is scored.

    Raises:
        VSRError: there is no figure of a name, or what it needs is absent.
    """
    for name in names:
        if name not in DEFINITIONS:
            raise VSRError(f"{name}: no such metric beside PSNR and SSIM; there are {', '.join(DEFINITIONS)}")
        if name in TEMPORAL and not all_frames:
            raise VSRError(f"{name} compares neighbouring frames, but of this set only the centre frames are scored")
    if "lpips" in names:
        check_lpips()


def extra_figures(
    names: Sequence[str],
    restored: Callable[[int], np.ndarray],
    gt: Callable[[int], np.ndarray],
    index: int,
    num_frames: int,
    protocol: Protocol,
) -> dict[str, float | None]:
    """Figures of one frame of a clip.

    Args:
        names: see :data:`DEFINITIONS`.
        restored: gives frame ``i`` of the clip, RGB ``(h, w, 3)`` of ``uint8``.
        gt: gives its ground truth.
        index: of the frame.
        num_frames: length of the clip.
        protocol: channel and border for what is PSNR of a part of the frame.

    Returns:
        A value per figure, ``None`` for the first frame where it takes the one before; ``warping`` brings
        ``warping_gt`` along, and ``regions`` is the figures of :func:`~vsr_plugin.evaluation.temporal.region_psnr`.
    """
    figures: dict[str, float | None] = {}
    pair = None
    if index > 0 and any(name in names for name in temporal.DEFINITIONS):
        pair = restored(index - 1), restored(index), gt(index - 1), gt(index)
    if "tof" in names:
        figures["tof"] = None if pair is None else temporal.tof(*pair)
    if "warping" in names:
        errors = (None, None) if pair is None else temporal.warping_errors(*pair)
        figures["warping"], figures["warping_gt"] = errors
    if "regions" in names:
        neighbours = [gt(i) for i in (index - 1, index + 1) if 0 <= i < num_frames]
        figures |= temporal.region_psnr(restored(index), gt(index), neighbours, protocol)
    if "lpips" in names:
        figures["lpips"] = lpips_distance(restored(index), gt(index))
    if "niqe" in names:
        figures["niqe"] = niqe(restored(index))
    return figures
