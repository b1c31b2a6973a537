"""Pictures of several shots, and jobs that make files of them, for tests of what runs the shots."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from vsr_plugin.errors import VSRError
from vsr_plugin.models import BasicVSRPlusPlusNet
from vsr_plugin.restoration.executors import ThisProcess


def pictures(*lengths: int, size: tuple[int, int] = (16, 24)) -> list[np.ndarray]:
    """Pictures that pan, shot after shot of so many."""
    height, width = size
    found = []
    for seed, length in enumerate(lengths):
        blocks = np.random.default_rng(seed).integers(0, 256, (4, 24, 3), np.uint8)
        wide = cv2.resize(blocks, (width + length, height), interpolation=cv2.INTER_CUBIC)
        found += [np.ascontiguousarray(wide[:, i : i + width]) for i in range(length)]
    return found


def one_thread() -> ThisProcess:
    """This process as one worker of two, or of a cluster."""
    executor = ThisProcess()
    executor.default_threads = lambda: 1
    return executor


def at_once(paths: Sequence[Path], restore: Callable[[Path], object], seconds: float) -> dict[str, str]:
    """Restore several inputs at a time; returns the errors by the input's name."""
    errors = {}

    def caught(path: Path) -> None:
        try:
            restore(path)
        except VSRError as error:
            errors[path.name] = str(error)

    threads = [threading.Thread(target=caught, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    return errors


def moving_basicvsr_pp(*, is_low_res_input: bool) -> nn.Module:
    """A small BasicVSR++ whose displacements leave the pixel."""
    torch.manual_seed(0)
    net = BasicVSRPlusPlusNet(8, 1, is_low_res_input=is_low_res_input, spynet_width=4).eval().requires_grad_(False)
    for name, parameter in net.named_parameters():
        if "conv_offset.6" in name:
            parameter.normal_(std=0.3)
    return net


def two_threads() -> Iterator[None]:
    """Of which each of two workers takes one; a fixture's body."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)
