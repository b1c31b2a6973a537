"""What is absent, and what an import error says about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vsr_plugin.mmagic_host import packages


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("torchvision.utils", "torchvision"),
        ("mmcv.ops.upfirdn2d", "mmcv.ops"),
        ("mmcv.ops", "mmcv.ops"),
        ("mmcv.opsx", None),
        ("mmcv", None),
        ("torchvision_extra", None),
    ],
)
def test_listed_package(name: str, package: str | None) -> None:
    assert packages.listed_package(name) == package


def test_mmcv_extension_of_another_pytorch_counts_as_absent_with_its_reason() -> None:
    error = ImportError("undefined symbol: _ZN3c10", name="_ext", path="/x/mmcv/_ext.cpython-311.so")
    absence = packages.absence_from_error("mmcv.ops", error)
    assert absence == packages.Absence("mmcv.ops", "ImportError: undefined symbol: _ZN3c10")
    assert packages.absence_from_error("mmcv.ops", ImportError("no", name="x", path="/x/cv2.so")) is None


def test_absent_packages_are_found_without_importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "resize_right.py").write_text("raise AssertionError('imported')")
    (tmp_path / "no_such_package").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(packages.OPTIONAL_PACKAGES, "no_such_package", "no-such-package")
    absent = packages.absent_packages()
    assert "resize_right" not in absent
    assert absent["no_such_package"] == packages.Absence("no_such_package")
