"""What is chosen on the page: weights and options, as a command would be given them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from vsr_plugin.app.roots import Roots
from vsr_plugin.defaults import USUAL_WEIGHTS
from vsr_plugin.errors import VSRError
from vsr_plugin.restoration.options import RestoreOptions
from vsr_plugin.settings import from_texts, to_arguments
from vsr_plugin.weights import PUBLISHED, locate_published

#: So many choices are compared at most.
MOST = 6
#: Values of ``--clean`` that the page offers, and what it calls them.
CLEANINGS = {"auto": "as usual", "off": "off", "0.5": "half", "1": "full"}


@dataclass(frozen=True)
class Choice:
    """One way of restoring.

    Attributes:
        weights: published name, or path of a checkpoint.
        options: see :class:`RestoreOptions`.
    """

    weights: str
    options: RestoreOptions

    def arguments(self) -> list[str]:
        """What ``restore`` is given beside input and output."""
        return ["--weights", self.weights, *to_arguments(self.options)]

    def command(self, input_path: Path, output: Path) -> str:
        """The line that does the same in a terminal."""
        return shlex.join(["vsr-plugin", "restore", str(input_path), str(output), *self.arguments()])

    def words(self) -> str:
        """What distinguishes it, short."""
        options, words = self.options, [Path(self.weights).name]
        cleaning = options.clean if isinstance(options.clean, str) else f"{options.clean:g}"
        words.append(f"cleaning {CLEANINGS.get(cleaning, cleaning)}")
        if options.shrink != 1:
            words.append(f"shrunk by {options.shrink:g}")
        return ", ".join(words)


def choices(
    roots: Roots,
    weights: Sequence[str],
    cleanings: Sequence[str],
    shrinks: Sequence[str],
    others: Mapping[str, str | bool],
) -> list[Choice]:
    """All combinations of what is to be compared.

    Args:
        roots: below which checkpoints lie that are no published ones.
        weights: names or paths.
        cleanings: values of ``--clean``.
        shrinks: values of ``--shrink``.
        others: of the other options, by the names of :class:`RestoreOptions`.

    Raises:
        VSRError: a value is none, nothing is chosen, or too much.
    """
    for what, chosen in (("weights", weights), ("a cleaning", cleanings), ("a reduction", shrinks)):
        if not chosen:
            raise VSRError(f"choose {what} at least")
    if (count := len(weights) * len(cleanings) * len(shrinks)) > MOST:
        raise VSRError(f"that makes {count} previews, {MOST} are compared at most; choose fewer")
    usual = from_texts(RestoreOptions, others)
    found = []
    for name, cleaning, shrink in product(weights, cleanings, shrinks):
        varied = from_texts(RestoreOptions, {"clean": cleaning, "shrink": shrink})
        found.append(Choice(_known(roots, name), replace(usual, clean=varied.clean, shrink=varied.shrink)))
    return found


def weights_here() -> list[str]:
    """Names of the published weights that are on this machine and restore, the usual ones first."""
    here = [name for name, path in locate_published().items() if path is not None and not PUBLISHED[name].is_part]
    return sorted(here, key=lambda name: name != USUAL_WEIGHTS)


def _known(roots: Roots, name: str) -> str:
    if name not in PUBLISHED:
        return str(roots.resolve(name))
    if name not in weights_here():
        raise VSRError(
            f"{name}: these weights are not on this machine, and the page downloads nothing; "
            f"vsr-plugin restore --weights {name} does"
        )
    return name
