"""Small checkpoints and what is exported from them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import torch
from small_networks import lively
from torch import Tensor, nn

from vsr_plugin.models import BasicVSRNet, BasicVSRPlusPlusNet, IconVSRNet

MISSING = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
if not MISSING and tuple(map(int, metadata.version("onnxruntime").split(".")[:2])) < (1, 32):
    MISSING = ["onnxruntime 1.32, with DeformConv on the CPU"]

TOOLS = Path(__file__).parents[2] / "tools"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if MISSING:
        reason = f"not installed: {', '.join(MISSING)} (pip install -r requirements/export.txt)"
        for item in items:
            if Path(__file__).parent in item.path.parents and "without_packages" not in item.name:
                item.add_marker(pytest.mark.skip(reason=reason))


NETS = {
    "basicvsr": lambda: BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4),
    "iconvsr": lambda: IconVSRNet(mid_channels=8, num_blocks=1, spynet_width=4, keyframe_stride=3),
    "basicvsr_pp": lambda: BasicVSRPlusPlusNet(mid_channels=8, num_blocks=1, spynet_width=4),
    "basicvsr_pp_x1": lambda: BasicVSRPlusPlusNet(8, 1, is_low_res_input=False, spynet_width=4),
}


@pytest.fixture(scope="session", params=NETS)
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A small network of each kind, and its checkpoint."""
    torch.manual_seed(0)
    net = lively(NETS[request.param]())
    path = tmp_path_factory.mktemp("weights") / f"small_{request.param}.pth"
    torch.save(dict(state_dict=net.state_dict()), path)
    return net, path


@pytest.fixture(scope="session")
def exported(small: tuple[nn.Module, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The whole-sequence model and the folder of steps of each small network."""
    from vsr_plugin.export import export_onnx

    folder = tmp_path_factory.mktemp("onnx")
    export_onnx(small[1], folder / "whole.onnx", keyframe_stride=3)
    export_onnx(small[1], folder / "steps", parts=True, keyframe_stride=3)
    return dict(whole=folder / "whole.onnx", steps=folder / "steps")


@pytest.fixture(scope="session")
def run_whole() -> Callable[[Path, Tensor], Tensor]:
    """Return a function that runs a whole-sequence model in onnxruntime."""

    def run(path: Path, lrs: Tensor) -> Tensor:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(None, dict(lrs=lrs.numpy()))[0])

    return run


@pytest.fixture
def load_model() -> Callable[[Path, int], object]:
    """What opens an exported model; imported late, since it needs onnxruntime."""
    from vsr_plugin.export.onnx_restorer import load_model

    return load_model
