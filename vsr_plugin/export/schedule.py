"""What an exported network's metadata say of its sweeps, and the names of what their steps take. Without PyTorch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vsr_plugin.ops.sweeps import Sweep

if TYPE_CHECKING:
    from vsr_plugin.models.propagation import Propagation


class Schedule:
    """What the driver asks of a propagation that runs through whole sequences.

    Args:
        sweeps: see :class:`vsr_plugin.models.propagation.Propagation`.
        restored_from: see there.
    """

    def __init__(self, sweeps: Sequence[Sweep], restored_from: Sequence[Sweep]) -> None:
        self.sweeps, self.restored_from = tuple(sweeps), tuple(restored_from)

    @staticmethod
    def segments(t: int) -> list[range]:
        """All frames in one run."""
        return [range(t)]


def write_schedule(propagation: Propagation | Schedule) -> str:
    """A schedule as text."""
    return json.dumps(
        [
            dict(
                name=sweep.name,
                reverse=sweep.reverse,
                order=sweep.order,
                sees=[other.name for other in sweep.sees],
                restores=sweep in propagation.restored_from,
            )
            for sweep in propagation.sweeps
        ]
    )


def read_schedule(text: str) -> Schedule:
    """What :func:`write_schedule` wrote.

    Raises:
        ValueError: it is something else.
    """
    sweeps: dict[str, Sweep] = {}
    restored_from = []
    try:
        for about in json.loads(text):
            name = about["name"]
            sees = tuple(sweeps[other] for other in about["sees"])
            sweeps[name] = Sweep(name, reverse=about["reverse"], order=about["order"], sees=sees)
            if about["restores"]:
                restored_from.append(sweeps[name])
    except (KeyError, TypeError) as error:
        raise ValueError(f"no schedule of sweeps: {text!r}") from error
    return Schedule(list(sweeps.values()), restored_from)


def step_name(sweep: Sweep) -> str:
    """Of the model that computes a step of a sweep."""
    return f"{sweep.name}_step"


def feat_name(sweep: Sweep) -> str:
    """Of a sweep's state of the current frame, which steps and reconstruction take."""
    return f"{sweep.name}_feat"


def numbered(name: str, order: int) -> list[str]:
    """Names of what a step takes of each neighbour, the nearest first.

    Example:
        >>> numbered("state", 2)
        ['state', 'state_2']
    """
    return [name, *(f"{name}_{k}" for k in range(2, order + 1))]
