"""Settings spelled once: a field of a dataclass says what the command line, its help and a job's comparison need.

A dataclass of settings has fields made by :func:`setting`, and by :func:`part` where others stand in one of their own.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import Field, dataclass, field, fields
from fractions import Fraction
from typing import Any

from vsr_plugin.defaults import ENSEMBLES
from vsr_plugin.errors import VSRError


@dataclass(frozen=True)
class Setting:
    """What is known of one setting beside its name and its default.

    Attributes:
        help: for the command line.
        group: heading under which the help shows it; without one it stands with the main arguments.
        flag: the option, if it is not the name with dashes; one that is ``True`` by default has one that turns it off.
        metavar: how the help calls the value.
        choices: the values there are.
        parse: makes a value of a text, raising ``ValueError``; its ``__name__`` stands in the message.
        excludes: of settings of one group that have this set only one may be given.
        changes_result: whether a job may not be gone on with when it is another.
        compared_as: what stands for it in that comparison, where its own value does not.
        compared: makes the value that is compared.
    """

    help: str
    group: str | None = None
    flag: str | None = None
    metavar: str | None = None
    choices: Sequence[str] | None = None
    parse: Callable[[str], Any] | None = None
    excludes: bool = False
    changes_result: bool = True
    compared_as: str | None = None
    compared: Callable[[Any], Any] | None = None


def setting(default: Any, help: str, **words: Any) -> Any:
    """A field of a dataclass of settings; see :class:`Setting` for ``words``."""
    return field(default=default, metadata={"setting": Setting(help, **words)})


def part(kind: type) -> Any:
    """A field that holds settings of another dataclass, by default as they stand there."""
    return field(default=kind(), metadata={"part": kind})


def settings_of(kind: type) -> Iterator[tuple[Field, Setting]]:
    """The settings of a dataclass, those of its parts among them."""
    for each in fields(kind):
        if "part" in each.metadata:
            yield from settings_of(each.metadata["part"])
        else:
            yield each, each.metadata["setting"]


def flag_of(each: Field) -> str:
    """The option of the command line for a setting."""
    return each.metadata["setting"].flag or f"--{each.name.replace('_', '-')}"


def add_settings(parser: argparse.ArgumentParser, kind: type) -> dict[str | None, Any]:
    """Add the settings of a dataclass to a command.

    Returns:
        The groups of the help by their headings, for what else is to stand there.
    """
    groups: dict[str | None, Any] = {None: parser}
    exclusive: dict[str | None, Any] = {}
    for each, known in settings_of(kind):
        if known.group not in groups:
            groups[known.group] = parser.add_argument_group(known.group)
        place = groups[known.group]
        if known.excludes:
            place = exclusive.setdefault(known.group, None) or place.add_mutually_exclusive_group()
            exclusive[known.group] = place
        words: dict[str, Any] = dict(dest=each.name, default=each.default, help=known.help)
        if isinstance(each.default, bool):
            words["action"] = "store_false" if each.default else "store_true"
        else:
            words.update(metavar=known.metavar, choices=known.choices, type=known.parse)
        place.add_argument(flag_of(each), **{name: value for name, value in words.items() if value is not None})
    return groups


def from_arguments(kind: type, args: argparse.Namespace) -> Any:
    """Make a dataclass of settings of what a command was given."""
    parts = {each.name: each.metadata.get("part") for each in fields(kind)}
    return kind(**{name: from_arguments(of, args) if of else getattr(args, name) for name, of in parts.items()})


def to_arguments(settings: Any) -> list[str]:
    """What a command is given for settings, the inverse of :func:`from_arguments`: those that are not as by default."""
    found = []
    for each in fields(settings):
        value = getattr(settings, each.name)
        if "part" in each.metadata:
            found += to_arguments(value)
        elif value != each.default:
            found += [flag_of(each)] if isinstance(each.default, bool) else [flag_of(each), str(value)]
    return found


def from_texts(kind: type, texts: Mapping[str, str | bool]) -> Any:
    """Make a dataclass of settings of what stands in a form.

    Args:
        kind: the dataclass.
        texts: by the settings' names, as on the command line; empty ones and those that are missing are as by default.

    Raises:
        VSRError: a text is no value of its setting.
    """
    values = {}
    for each in fields(kind):
        if "part" in each.metadata:
            values[each.name] = from_texts(each.metadata["part"], texts)
        elif (text := texts.get(each.name, "")) != "":
            values[each.name] = text if isinstance(text, bool) else _parse(each, text.strip())
    return kind(**values)


def _parse(each: Field, text: str) -> Any:
    known: Setting = each.metadata["setting"]
    if known.choices is not None and text not in known.choices:
        raise VSRError(f"{flag_of(each)} {text}: is not there; choose one of {', '.join(known.choices)}")
    try:
        return text if known.parse is None else known.parse(text)
    except ValueError as error:
        raise VSRError(f"{flag_of(each)} {text}: is no {known.parse.__name__}") from error


def compared_settings(settings: Any, prefix: str = "") -> dict[str, object]:
    """What a job is compared by when it is gone on with: all settings that change its result, by names for a person."""
    found: dict[str, object] = {}
    for each in fields(settings):
        value = getattr(settings, each.name)
        if "part" in each.metadata:
            found |= compared_settings(value, f"{each.name} ")
            continue
        known: Setting = each.metadata["setting"]
        if known.changes_result and known.compared_as is None:
            name = f"{prefix}{each.name.replace('_', ' ')}" if prefix else each.name.replace("_", "-")
            value = known.compared(value) if known.compared else value
            found[name] = value if value is None or isinstance(value, int | float) else str(value)
    return found


# -- values of the command line ----------------------------------------------------------------------------------------


def natural(text: str) -> int:
    """A number, 0 or more."""
    if (number := int(text)) < 0:
        raise ValueError(text)
    return number


def positive(text: str) -> int:
    """A number, 1 or more."""
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def size(text: str) -> tuple[int, int]:
    """Rows and columns of ``'288x512'``, 1 or more each."""
    height, _, width = text.partition("x")
    return positive(height), positive(width)


def share(text: str) -> float:
    """0 to less than 1."""
    if not 0 <= (number := float(text)) < 1:
        raise ValueError(text)
    return number


def cleaning(text: str) -> str | float:
    """``'auto'``, ``'off'``, or 0 to 1."""
    if text in ("auto", "off"):
        return text
    if not 0 <= (number := float(text)) <= 1:
        raise ValueError(text)
    return number


def whole_share(text: str) -> float:
    """0 to 1."""
    if not 0 <= (number := float(text)) <= 1:
        raise ValueError(text)
    return number


def quantiser_step(text: str) -> float:
    """How coarsely a codec quantises, in 255ths, from 1 to 255."""
    if not 1 <= (number := float(text)) <= 255:
        raise argparse.ArgumentTypeError(f"a quantiser's step of {text}/255; use a number from 1 to 255")
    return number


def reduction(text: str) -> float:
    """A finite number, 1 or more."""
    if not 1 <= (number := float(text)) < math.inf:
        raise ValueError(text)
    return number


def turns(text: str) -> int:
    """One of the sizes of an ensemble."""
    if (number := int(text)) not in ENSEMBLES:
        raise ValueError(text)
    return number


def factor(text: str) -> float:
    """A finite number above 0."""
    if not 0 < (number := float(text)) < math.inf:
        raise ValueError(text)
    return number


def gpus(text: str) -> float:
    """A whole number of GPUs, or a share of one."""
    number = float(text)
    if not 0 <= number < math.inf or (number > 1 and number != int(number)):
        raise ValueError(text)
    return number


def rate(text: str) -> Fraction:
    """A number above 0, which may be a fraction."""
    # The denominator may be 0, which argparse takes for a fault of the program.
    with suppress(ZeroDivisionError):
        if (number := Fraction(text)) > 0:
            return number
    raise ValueError(text)


def memory_size(text: str) -> int:
    """Bytes of a size such as ``'8G'``, ``'500M'`` or ``'1073741824'``.

    Raises:
        ValueError: it is no such size, or not positive.
    """
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    number = text.strip().upper().removesuffix("B").removesuffix("I")
    times = units.get(number[-1:], 1)
    size = float(number[:-1] if times > 1 else number) * times
    if not 1 <= size < 2**63:
        raise ValueError(text)
    return int(size)


natural.__name__, positive.__name__ = "number (0 or more)", "number (1 or more)"
size.__name__ = "size (HEIGHTxWIDTH, e.g. 288x512)"
share.__name__, factor.__name__ = "share (0 to less than 1)", "factor (above 0, such as 2 or 1.5)"
cleaning.__name__, whole_share.__name__ = "cleaning (auto, off, or 0 to 1)", "share (0 to 1)"
reduction.__name__ = "factor (1 or more, such as 2 or 1.5)"
turns.__name__ = f"size of an ensemble ({', '.join(map(str, ENSEMBLES))})"
gpus.__name__ = "number of GPUs (whole, or a share such as 0.5)"
rate.__name__, memory_size.__name__ = "rate (above 0, such as 25 or 30000/1001)", "size such as 8G or 500M"


def check_share(name: str, value: float) -> None:
    """Refuse a setting that is not 0 (none) to 1 (all).

    Raises:
        VSRError: it is not.
    """
    if not 0 <= value <= 1:
        raise VSRError(f"{name} {value}: is no share; use 0 (none) to 1 (all)")


def budget_in_bytes(budget: int | str) -> int:
    """A memory budget as a number of bytes, from one or from a size such as ``'8G'``.

    Raises:
        VSRError: it is neither, or not positive.
    """
    try:
        return memory_size(budget if isinstance(budget, str) else str(int(budget)))
    except (OverflowError, TypeError, ValueError) as error:
        raise VSRError(f"memory budget {budget!r}: is no size; use bytes, or a text such as '8G' or '500M'") from error
