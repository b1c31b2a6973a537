"""Stand-ins as MMagic's code meets them."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import Union

import pytest

from vsr_plugin.mmagic_host.packages import Absence, silent, stand_in

LPIPS = stand_in(Absence("lpips"), "lpips")


def test_attributes_are_stand_ins_again_and_always_the_same() -> None:
    assert LPIPS.a.b is LPIPS.a.b
    assert repr(LPIPS.a.b) == "<stand-in for 'lpips.a.b': package 'lpips' is absent>"
    assert LPIPS.__version__ is LPIPS.__version__


def test_is_empty_and_falsy() -> None:
    assert not LPIPS
    assert list(LPIPS) == []
    assert LPIPS.__all__ == []
    assert dir(LPIPS) == []
    assert not hasattr(LPIPS, "__path__")


def test_serves_in_annotations_and_type_checks() -> None:
    assert LPIPS.Net["anything"] is LPIPS.Net
    assert Union[LPIPS.Net, int] == LPIPS.Net | int  # noqa: UP007
    assert not isinstance(3, LPIPS.Net)
    assert isinstance(3, (int, LPIPS.Net))


def test_use_names_the_package_and_the_cure() -> None:
    with pytest.raises(ImportError, match=r"^lpips\.LPIPS needs the package 'lpips', which is not"):
        LPIPS.LPIPS(net="vgg")


def test_use_of_a_broken_package_gives_the_reason() -> None:
    broken = stand_in(Absence("torchvision", "RuntimeError: no such operator"), "torchvision")
    with pytest.raises(ImportError, match=r"cannot be imported .RuntimeError: no such operator"):
        broken.utils.make_grid()


def test_is_silent_and_transparent_while_mmagic_is_being_imported() -> None:
    def function() -> None: ...

    with silent():
        assert LPIPS.decorator(function) is function
        assert LPIPS.decorator(option=1)(function) is function
        assert not LPIPS.available()
    with pytest.raises(ImportError):
        LPIPS.available()


def test_derived_class_is_a_class_that_cannot_be_instantiated() -> None:
    class Mixed(metaclass=ABCMeta):
        @abstractmethod
        def forward(self) -> None: ...

    class Derived(Mixed, LPIPS.Base, LPIPS.Other, flag=True):
        constant = 3

    assert Derived
    assert Derived.constant == 3
    assert issubclass(Derived, LPIPS.Base)
    assert "constant" in dir(Derived)
    assert not hasattr(Derived, "__path__")
    with pytest.raises(ImportError, match=r"Derived needs the package 'lpips'"):
        Derived()
    with pytest.raises(AttributeError, match="its base needs the package 'lpips'"):
        Derived.from_pretrained("x")
    with pytest.raises(TypeError, match="not iterable"):
        iter(Derived)
