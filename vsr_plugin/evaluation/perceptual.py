"""LPIPS through the package of its authors, where it is installed."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import torch
from torch import Tensor

from vsr_plugin.errors import VSRError

DEFINITION = (
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
