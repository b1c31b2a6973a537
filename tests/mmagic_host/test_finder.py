"""The import that MMagic's modules get, on small packages called ``mmagic``; needs no PyTorch."""

from __future__ import annotations

import importlib.util
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

Fresh = Callable[..., str]


needs_absence = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is not None, reason="the packages are installed here"
)


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., Path]:
    """Write packages, ``{path: source}``, and return the folder that holds them."""

    def write(files: dict[str, str]) -> Path:
        for name, source in files.items():
            target = tmp_path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(textwrap.dedent(source))
        return tmp_path

    return write


@needs_absence
def test_absent_package_is_stood_in_for(fresh: Fresh, site: Callable[..., Path]) -> None:
    folder = site(
        {
            "mmagic/__init__.py": """
                import lpips
                import torchvision.transforms as T
                from torchvision.utils import make_grid
                from diffusers import *
                from .inner import late
                normalize = T.Normalize(mean=1)
                class Net(lpips.LPIPS): pass
            """,
            "mmagic/inner.py": """
                def late():
                    from resize_right import resize
                    return resize
            """,
        }
    )
    fresh(
        """
        import sys, vsr_plugin, mmagic
        for use, package in [(mmagic.make_grid, "torchvision"), (mmagic.late(), "resize_right"),
                             (mmagic.Net, "lpips"), (mmagic.normalize, "torchvision")]:
            try:
                use()
            except ImportError as error:
                assert f"the package '{package}', which is not installed" in str(error), error
                assert error.name == package
            else:
                raise AssertionError(package)
        assert not {"torchvision", "torchvision.utils", "lpips", "diffusers"} & set(sys.modules)
        """,
        folder,
    )


@needs_absence
def test_other_code_finds_absent_packages_absent_at_any_moment(fresh: Fresh, site: Callable[..., Path]) -> None:
    folder = site(
        {
            "mmagic/__init__.py": "import torchvision, library\nlibrary.probe()\nfrom library import found",
            "library.py": """
                import importlib, importlib.util
                found = []
                def probe():
                    found.append(importlib.util.find_spec("torchvision"))
                    for way in (lambda: __import__("torchvision"), lambda: importlib.import_module("lpips")):
                        try:
                            way()
                        except ModuleNotFoundError as error:
                            found.append(error.name)
                    try:
                        import torchvision.utils
                    except ModuleNotFoundError as error:
                        found.append(error.name)
                probe()
            """,
        }
    )
    fresh(
        """
        import builtins, importlib
        before = builtins.__import__, importlib.import_module
        import vsr_plugin, mmagic, library
        library.probe()
        assert mmagic.found == [None, "torchvision", "lpips", "torchvision"] * 3, mmagic.found
        assert before == (builtins.__import__, importlib.import_module)
        assert library.__builtins__ is vars(builtins)
        """,
        folder,
    )


def test_real_package_wins(fresh: Fresh, site: Callable[..., Path]) -> None:
    folder = site(
        {
            "mmagic/__init__.py": "import lpips\nfrom lpips.nets import VGG\ndistance = lpips.LPIPS()",
            "lpips/__init__.py": "LPIPS = lambda: 'real'",
            "lpips/nets.py": "VGG = 16",
        }
    )
    fresh("import vsr_plugin, mmagic; assert (mmagic.distance, mmagic.VGG) == ('real', 16)", folder)


@pytest.mark.parametrize(
    ("lpips", "asked", "message"),
    [
        ("import some_dependency", "import lpips", "No module named 'some_dependency'"),
        pytest.param("import torchvision", "import lpips", "No module named 'torchvision'", marks=needs_absence),
        ("", "import lpips.nets", "No module named 'lpips.nets'"),
        ("", "from lpips import nets", "cannot import name 'nets' from 'lpips'"),
        ("1 / 0", "import lpips", "division by zero"),
    ],
)
def test_fault_of_a_real_package_is_not_hidden(
    fresh: Fresh, site: Callable[..., Path], lpips: str, asked: str, message: str
) -> None:
    folder = site({"mmagic/__init__.py": asked, "lpips/__init__.py": lpips})
    printed = fresh(
        """
        import vsr_plugin
        try:
            import mmagic
        except Exception as error:
            print(error)
        """,
        folder,
    )
    assert message in printed


def test_package_off_the_list_is_not_stood_in_for(fresh: Fresh, site: Callable[..., Path]) -> None:
    folder = site({"mmagic/__init__.py": "try:\n    import xformers\nexcept ImportError:\n    xformers = 'own way'"})
    fresh("import vsr_plugin, mmagic; assert mmagic.xformers == 'own way'", folder)


@needs_absence
def test_own_way_without_the_package_is_taken(fresh: Fresh, site: Callable[..., Path]) -> None:
    folder = site(
        {
            "mmagic/__init__.py": """
                try:
                    import av
                    has_av = True
                except (ImportError, OSError):
                    has_av = False
                try:
                    from mmcv.ops import (
                        conv2d)
                except ImportError:
                    print('no conv2d')
                    conv2d = len
                try:
                    import lpips
                except ImportError:
                    lpips = None
                try:
                    import clip
                    def late():
                        import clip
                        return clip
                except ImportError:
                    has_clip = False
                def give_up():
                    try:
                        import face_alignment
                    except ImportError:
                        raise 'a string'
                    face_alignment.load()
                try:
                    import pandas
                except ValueError:
                    pass
            """,
            "mmcv/__init__.py": "",
        }
    )
    fresh(
        """
        import vsr_plugin, mmagic
        assert mmagic.has_av is False or __import__("av")
        assert mmagic.conv2d is len
        assert mmagic.has_clip is False
        for use in (mmagic.lpips, mmagic.give_up, mmagic.pandas):
            try:
                use()
            except ImportError as error:
                assert "needs the package" in str(error)
            else:
                raise AssertionError(use)
        """,
        folder,
    )


def test_torchvision_that_does_not_import_is_stood_in_for_with_its_reason(
    fresh: Fresh, site: Callable[..., Path]
) -> None:
    folder = site(
        {
            "mmagic/__init__.py": """
                from torchvision.utils import make_grid
                def late():
                    import torchvision
                    return torchvision
            """,
            "torchvision/__init__.py": """
                import builtins
                builtins.attempts = getattr(builtins, 'attempts', 0) + 1
                raise RuntimeError('operator torchvision::nms does not exist')
            """,
        }
    )
    fresh(
        """
        import vsr_plugin, mmagic
        mmagic.late()
        assert attempts == 1
        try:
            mmagic.make_grid()
        except ImportError as error:
            assert "RuntimeError: operator torchvision::nms does not exist" in str(error)
            assert "installed but cannot be imported" in str(error)
        try:
            import torchvision
        except RuntimeError:
            print("as before")
        """,
        folder,
    )


def test_folder_of_clips_is_not_the_package_clip(fresh: Fresh, site: Callable[..., Path]) -> None:
    folder = site({"mmagic/__init__.py": "from clip.model import CLIP", "clip/0001.txt": ""})
    printed = fresh("import vsr_plugin, mmagic; print(repr(mmagic.CLIP))", folder)
    assert printed.strip() == "<stand-in for 'clip.model.CLIP': package 'clip' is absent>"


def test_numpy_1_name_is_there_for_one_module_only(fresh: Fresh, site: Callable[..., Path]) -> None:
    folder = site(
        {
            "mmagic/__init__.py": "",
            "mmagic/other.py": "import numpy as np",
            "mmagic/utils/__init__.py": "",
            "mmagic/utils/trans_utils.py": "import numpy as np\nfrom numpy import sin\nboolean = np.bool8",
            "numpy.py": "__version__ = '2.1.0'\nbool_ = bool\nsin = 'sin'\ncos = 'cos'",
        }
    )
    fresh(
        """
        import vsr_plugin, numpy, sys
        from mmagic.utils import trans_utils
        import mmagic.other
        assert trans_utils.boolean is bool
        assert trans_utils.sin == "sin" and trans_utils.np.cos == "cos" and "cos" in dir(trans_utils.np)
        assert not hasattr(numpy, "bool8")
        assert mmagic.other.np is numpy is sys.modules["numpy"]
        """,
        folder,
    )


def test_finder_is_installed_once_and_leaves_loaders_as_they_are(fresh: Fresh, site: Callable[..., Path]) -> None:
    folder = site(
        {
            "mmagic/__init__.py": "class Net:\n    value = 5\n",
            "mmagic/data.txt": "here",
            "mmagic/bare/a.py": "",
        }
    )
    fresh(
        """
        import copy, importlib, importlib.resources, importlib.util, inspect, pickle, pkgutil, sys
        import vsr_plugin, vsr_plugin.mmagic_host
        before = list(sys.meta_path)
        vsr_plugin.mmagic_host.install()
        assert sys.meta_path == before
        assert importlib.util.find_spec("mmagic").origin.endswith("__init__.py")
        assert importlib.util.find_spec("mmagic.nothing") is None
        import mmagic, mmagic.bare.a
        assert "value = 5" in inspect.getsource(mmagic.Net)
        assert pickle.loads(pickle.dumps(mmagic.Net())).value == 5
        assert importlib.resources.files("mmagic").joinpath("data.txt").read_text() == "here"
        assert pkgutil.get_data("mmagic", "data.txt") == b"here"
        copy.copy(mmagic.__spec__)
        assert importlib.reload(mmagic) is mmagic
        """,
        folder,
    )


def test_missing_mmagic_is_missing(fresh: Fresh) -> None:
    fresh(
        """
        import sys, importlib.util, vsr_plugin
        from vsr_plugin.mmagic_host.finder import HostFinder
        sys.path = [p for p in sys.path if "site-packages" not in p]
        assert importlib.util.find_spec("mmagic") is None
        assert isinstance(sys.meta_path[0], HostFinder)
        """
    )


@needs_absence
def test_modules_imported_before_stay_and_later_ones_are_hosted(fresh: Fresh, site: Callable[..., Path]) -> None:
    folder = site({"mmagic/__init__.py": "early = 1", "mmagic/apis.py": "import torchvision"})
    fresh(
        """
        import mmagic
        first = mmagic
        import vsr_plugin, mmagic.apis
        assert mmagic is first
        assert repr(mmagic.apis.torchvision).startswith("<stand-in")
        """,
        folder,
    )
