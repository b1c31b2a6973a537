"""Small networks, their files, and how a file is refused; shared by the tests of loading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from vsr_plugin.errors import VSRError, WeightsError
from vsr_plugin.weights import load_net


def save(net: nn.Module, path: Path) -> Path:
    torch.save(net.state_dict(), path)
    return path


def small(kind: type[nn.Module], **arguments) -> nn.Module:
    return kind(mid_channels=8, num_blocks=1, **arguments)


def refused(name_or_path: object, load: Callable = load_net) -> str:
    with pytest.raises(WeightsError) as caught:
        load(name_or_path)
    message = str(caught.value)
    assert isinstance(caught.value, VSRError)
    # One line that begins with what was asked for.
    assert "\n" not in message
    assert message.startswith(str(name_or_path))
    return message
