"""Settings that are spelled once, as command line and as what jobs are compared by."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields

import pytest
import torch

from vsr_plugin import defaults
from vsr_plugin.acceleration import PRECISIONS
from vsr_plugin.cli.command import HelpFormatter
from vsr_plugin.errors import VSRError
from vsr_plugin.restoration import RestoreOptions
from vsr_plugin.settings import (
    add_settings,
    compared_settings,
    from_arguments,
    from_texts,
    natural,
    part,
    positive,
    setting,
    settings_of,
    size,
    to_arguments,
)


@dataclass(frozen=True)
class Paint:
    colour: str = setting("red", "of the wall", group="paint", choices=("red", "blue"))
    gloss: bool = setting(True, "leave it matt", group="paint", flag="--matt")


@dataclass(frozen=True)
class House:
    wide: int | None = setting(None, "metres", group="size", metavar="N", parse=positive, excludes=True)
    tall: int | None = setting(None, "metres", group="size", metavar="N", parse=positive, excludes=True)
    num_doors: int = setting(1, "how many", parse=natural, compared=lambda count: count > 0)
    quick: bool = setting(False, "be quick", changes_result=False)
    paint: Paint = part(Paint)


def parse(*words: str) -> House:
    parser = argparse.ArgumentParser(formatter_class=HelpFormatter)
    groups = add_settings(parser, House)
    assert list(groups) == [None, "size", "paint"]
    return from_arguments(House, parser.parse_args(words))


def test_a_command_without_words_has_the_defaults() -> None:
    assert parse() == House()


def test_a_command_line_becomes_settings() -> None:
    made = parse("--wide", "3", "--num-doors", "0", "--quick", "--colour", "blue", "--matt")
    assert made == House(wide=3, num_doors=0, quick=True, paint=Paint("blue", gloss=False))


def test_settings_become_the_command_line_that_they_came_from() -> None:
    words = ["--wide", "3", "--num-doors", "0", "--quick", "--colour", "blue", "--matt"]
    assert to_arguments(parse(*words)) == words
    assert to_arguments(House()) == []


def test_what_stands_in_a_form_becomes_settings() -> None:
    texts = {"wide": " 3 ", "num_doors": "", "quick": True, "colour": "blue", "gloss": False}
    assert from_texts(House, texts) == House(wide=3, quick=True, paint=Paint("blue", gloss=False))
    assert from_texts(House, {}) == House()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"wide": "0"}, r"--wide 0: is no number \(1 or more\)"),
        ({"num_doors": "two"}, r"--num-doors two: is no number \(0 or more\)"),
        ({"colour": "green"}, "--colour green: is not there; choose one of red, blue"),
    ],
)
def test_a_form_with_a_wrong_value_is_refused(texts, message) -> None:
    with pytest.raises(VSRError, match=message):
        from_texts(House, texts)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--wide", "0"], "argument --wide: invalid number (1 or more) value: '0'"),
        (["--wide", "1", "--tall", "1"], "not allowed with argument"),
        (["--colour", "green"], "argument --colour: invalid choice"),
    ],
    ids=str,
)
def test_words_that_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(*words)
    assert message in capsys.readouterr().err


def test_what_is_compared() -> None:
    assert compared_settings(House(num_doors=7, quick=True)) == {
        "wide": None, "tall": None, "num-doors": True, "paint colour": "red", "paint gloss": True,
    }  # fmt: skip


def test_every_option_of_restoring_has_help_and_words_for_it() -> None:
    documented = RestoreOptions.__doc__
    for field, known in settings_of(RestoreOptions):
        assert known.help, field.name
    for field in fields(RestoreOptions):
        assert field.name in documented, field.name


def test_names_of_precisions_are_those_of_pytorch() -> None:
    assert {name: getattr(torch, dtype) for name, dtype in defaults.PRECISIONS.items()} == PRECISIONS


def test_a_size_has_rows_and_columns() -> None:
    assert size("288x512") == (288, 512)
    for text in ("0x8", "8x0", "-1x8", "8", "8x", "8x8x8"):
        with pytest.raises(ValueError, match=r"\S"):
            size(text)
