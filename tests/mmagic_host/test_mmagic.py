"""The real MMagic on the host, where nothing of what it lacks is installed or everything is."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import vsr_plugin  # noqa: F401  hosts MMagic
from vsr_plugin.mmagic_host import absent_packages

ABSENT = absent_packages()


@pytest.fixture(scope="module")
def facts(fresh: Callable[..., str]) -> dict:
    """What one fresh interpreter that imports MMagic whole sees before, during and after."""
    code = """
        import contextlib, importlib, importlib.util, io, json, sys, threading
        import numpy
        numpy_names = set(vars(numpy))
        import vsr_plugin
        facts = {"light": not {"torch", "mmengine", "mmcv", "mmagic"} & set(sys.modules)}

        def probe():
            seen = {}
            for name in ("torchvision", "diffusers", "lpips"):
                if name in sys.modules:
                    seen[name] = "in sys.modules"
                    continue
                try:
                    spec = importlib.util.find_spec(name)
                    importlib.import_module(name)
                    seen[name] = "imported"
                except ModuleNotFoundError as error:
                    seen[name] = [spec is None, error.name]
            return seen

        # A loader hook runs amid MMagic's own import, as any library that MMagic imports does.
        class Spy:
            def find_spec(self, fullname, path=None, target=None):
                if fullname == "mmagic.models.losses" and "during" not in facts:
                    facts["during"] = probe()

        sys.meta_path.insert(1, Spy())
        with contextlib.redirect_stdout(io.StringIO()):
            from mmagic.apis import MMagicInferencer
            from mmagic.utils import register_all_modules
            register_all_modules()
        from mmagic.registry import MODELS
        facts["models"] = len(MODELS)
        facts["after"] = probe()
        facts["numpy"] = sorted(name for name in ("bool8",) if name in set(vars(numpy)) - numpy_names)
        from mmagic.models.losses.perceptual_loss import PerceptualVGG
        from mmagic.models.archs import TokenizerWrapper
        facts["errors"] = {}
        for name, use in (("torchvision", lambda: PerceptualVGG(["1"], pretrained="x")),
                          ("transformers", lambda: TokenizerWrapper("x"))):
            try:
                use()
            except Exception as error:
                facts["errors"][name] = f"{type(error).__name__}: {error}"
        print(json.dumps(facts))
    """
    return json.loads(fresh(code).splitlines()[-1])


def test_import_of_the_plugin_is_light(facts: dict) -> None:
    assert facts["light"]


def test_mmagic_imports_and_registers_whole(facts: dict) -> None:
    assert facts["models"] > 200


@pytest.mark.parametrize("moment", ["during", "after"])
@pytest.mark.parametrize("package", ["torchvision", "diffusers", "lpips"])
def test_absent_stays_absent_for_others(facts: dict, moment: str, package: str) -> None:
    if package not in ABSENT:
        pytest.skip(f"{package} is installed here")
    assert facts[moment][package] == [True, package]


def test_numpy_is_not_patched(facts: dict) -> None:
    assert facts["numpy"] == []


@pytest.mark.parametrize("package", ["torchvision", "transformers"])
def test_use_in_mmagic_names_the_package(facts: dict, package: str) -> None:
    if package not in ABSENT:
        pytest.skip(f"{package} is installed here")
    assert facts["errors"][package].startswith("ImportError: ")
    assert f"needs the package '{package}', which is not installed; pip install" in facts["errors"][package]


def test_mmagic_iconvsr_builds_on_our_deformable_convolution() -> None:
    from mmagic.models import IconVSRNet

    torch.manual_seed(0)
    edvr = IconVSRNet(mid_channels=64, num_blocks=1).edvr
    features = edvr(torch.rand(1, 5, 3, 16, 16))
    assert features.shape == (1, 64, 16, 16)
    features.mean().backward()
    layer = edvr.pcd_alignment.dcn_pack["l1"]
    assert (layer.kernel_size, layer.stride, layer.deform_groups) == ((3, 3), (1, 1), 8)
    assert layer.weight.grad.abs().sum() > 0


@pytest.mark.skipif("mmcv.ops" not in ABSENT, reason="mmcv is compiled here")
def test_other_operators_of_mmcv_name_the_package() -> None:
    from mmagic.models import TDANNet

    with pytest.raises(ImportError, match=r"mmcv.ops.DeformConv2d.* needs the package 'mmcv.ops'"):
        TDANNet()


@pytest.mark.skipif("mmcv.ops" not in ABSENT, reason="mmcv is compiled here")
@pytest.mark.parametrize("geometry", [{}, {"stride": 2, "padding": (1, 0), "dilation": 2, "groups": 2}])
def test_layer_without_offsets_is_a_convolution(geometry: dict) -> None:
    from vsr_plugin.mmagic_host.mmcv_ops import ModulatedDeformConv2d

    torch.manual_seed(0)
    layer = ModulatedDeformConv2d(4, 6, (3, 2), deform_groups=2, **geometry).double()
    x = torch.rand(2, 4, 9, 8, dtype=torch.double)
    reference = torch.nn.functional.conv2d(x, layer.weight, layer.bias, **geometry)
    taps, size = 2 * 3 * 2, reference.shape[-2:]
    offset, mask = x.new_zeros(2, 2 * taps, *size), x.new_ones(2, taps, *size)
    assert torch.allclose(layer(x, offset, mask), reference, atol=1e-12)
    assert torch.allclose(layer(x, offset, mask / 2), (reference + layer.bias.view(-1, 1, 1)) / 2, atol=1e-12)


def test_layer_rejects_groups_that_do_not_divide() -> None:
    from vsr_plugin.mmagic_host.mmcv_ops import ModulatedDeformConv2d

    with pytest.raises(ValueError, match="`groups` must divide"):
        ModulatedDeformConv2d(4, 6, 3, groups=3)
    assert ModulatedDeformConv2d(4, 6, 3, bias=False).bias is None


def test_mmagic_classes_pickle() -> None:
    from mmagic.models import BasicVSRNet

    net = BasicVSRNet(mid_channels=8, num_blocks=1).eval()
    lrs = torch.rand(1, 2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(pickle.loads(pickle.dumps(net))(lrs), net(lrs))


class RandomClips(Dataset):
    """Pairs of noise, as MMagic's pipeline would pack them."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict:
        from mmagic.structures import DataSample

        generator = torch.Generator().manual_seed(index)
        lrs = torch.rand(2, 3, 64, 64, generator=generator) * 255
        gts = torch.rand(2, 3, 256, 256, generator=generator) * 255
        return {"inputs": lrs, "data_samples": DataSample(gt_img=gts)}


def make_runner(work_dir: Path, iterations: int, **options: object):
    from mmengine.runner import Runner

    return Runner(
        model={
            "type": "mmagic.BasicVSR",
            "generator": {"type": "mmagic.BasicVSRNet", "mid_channels": 8, "num_blocks": 1},
            "pixel_loss": {"type": "CharbonnierLoss", "loss_weight": 1.0, "reduction": "mean"},
            "data_preprocessor": {"type": "DataPreprocessor", "mean": [0.0] * 3, "std": [255.0] * 3},
            "train_cfg": {"fix_iter": 0},
        },
        work_dir=str(work_dir),
        train_dataloader=DataLoader(RandomClips(), collate_fn=_collate),
        train_cfg={"by_epoch": False, "max_iters": iterations},
        optim_wrapper={"type": "OptimWrapper", "optimizer": {"type": "Adam", "lr": 1e-4}},
        default_hooks={
            "checkpoint": {"type": "CheckpointHook", "interval": iterations, "by_epoch": False},
            "logger": {"type": "LoggerHook", "interval": 1},
        },
        experiment_name=f"{work_dir.name}_{iterations}",
        log_level="WARNING",
        **options,
    )


def _collate(batch: list) -> dict:
    from mmengine.dataset import pseudo_collate

    return pseudo_collate(batch)


def test_mmagic_basicvsr_trains_and_resumes(tmp_path: Path) -> None:
    first = make_runner(tmp_path, 2, default_scope="mmagic")
    first.train()
    second = make_runner(tmp_path, 3, default_scope="vsr_plugin", resume=True)
    second.load_or_resume()
    assert second.iter == 2
    for name, value in first.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name
    assert len(second.message_hub.get_scalar("train/loss").data[0]) == 2
    second.train()
    assert second.iter == 3
    assert type(second.model.generator).__module__.startswith("mmagic.")


@pytest.mark.skipif(torch.__version__ < (2, 6), reason="loads everything by default")
def test_resume_allows_nothing_but_the_history(tmp_path: Path) -> None:
    import mmagic  # noqa: F401
    from mmengine.logging import HistoryBuffer

    history = HistoryBuffer([1.0, 2.0], [1, 1])
    torch.save({"history": history, "number": np.float64(2), "counts": np.arange(2)}, tmp_path / "good.pth")
    loaded = torch.load(tmp_path / "good.pth", weights_only=True)
    assert loaded["history"].mean() == 1.5
    assert loaded["number"] == 2

    for bad in (Reduced(getattr, (HistoryBuffer, "__init__")), Reduced(getattr, ("", "join"))):
        torch.save({"bad": bad}, tmp_path / "bad.pth")
        with pytest.raises(pickle.UnpicklingError, match="only the statistics"):
            torch.load(tmp_path / "bad.pth", weights_only=True)
    torch.save({"bad": Reduced(print, ("ran",))}, tmp_path / "bad.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "bad.pth", weights_only=True)


class Reduced:
    """Pickles as a call."""

    def __init__(self, function: Callable, arguments: tuple) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_data_loader_workers_import_mmagic(fresh: Callable[..., str], tmp_path: Path, method: str) -> None:
    code = f"""
        import vsr_plugin
        from mmagic.datasets.transforms import Flip
        from torch.utils.data import DataLoader, Dataset
        import numpy as np

        class Flipped(Dataset):
            transform = Flip(keys=["img"], flip_ratio=1.0)
            def __init__(self): self.transform = Flipped.transform
            def __len__(self): return 2
            def __getitem__(self, i): return self.transform(dict(img=np.arange(3.0)[None]))["img"].copy()

        if __name__ == "__main__":
            loader = DataLoader(Flipped(), num_workers=1, multiprocessing_context="{method}")
            print([batch.flatten().tolist() for batch in loader])
    """
    printed = fresh(code, script=tmp_path / "load.py")
    assert printed.splitlines()[-1] == "[[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]]"
