"""All figures of a benchmark as JSON, with what they were measured on."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any


def as_json(results: Sequence[Any], machine: dict[str, str], setting: Any, protocol: str) -> str:
    """Everything that was measured, for a file.

    Args:
        results: dataclasses with a ``median``.
        machine: what they were measured on.
        setting: a dataclass: what all contenders were given alike.
        protocol: how, in words.
    """
    document = dict(
        machine=machine,
        protocol=protocol,
        setting=dataclasses.asdict(setting),
        results=[dataclasses.asdict(result) | dict(median=result.median) for result in results],
    )
    return json.dumps(document, indent=2) + "\n"
