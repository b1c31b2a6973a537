"""Arguments that several benchmarks have."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

import torch

from vsr_plugin.benchmarks.implementations import MODELS, Setting
from vsr_plugin.errors import VSRError


def add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        help="published name or path (default: basicvsr_reds4; the other networks: random but for BasicVSR's parts)",
    )


def add_setting(parser: argparse.ArgumentParser, models: Iterable[str] = MODELS) -> None:
    parser.add_argument("--model", choices=tuple(models), default="basicvsr")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto for a GPU if there is one")
    parser.add_argument("--threads", type=int, default=0, help="PyTorch's threads, 0 for its own choice")


def read_device(args: argparse.Namespace) -> str:
    device = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and not torch.cuda.is_available():
        raise VSRError(f"device {device!r} cannot be used here: no GPU that PyTorch can use; use --device cpu")
    return device


def read_setting(args: argparse.Namespace) -> Setting:
    return Setting(args.model, args.weights, read_device(args), args.threads)
