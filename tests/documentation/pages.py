"""The pages of the documentation, and the commands, blocks of Python and links on them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

#: First words of what counts as a command where it stands within a sentence.
_PROGRAMS = r"(?:python|pytest|make|pip|torchrun|srun|tools/\w+\.\w+)"
_INLINE = re.compile(rf"`((?:[A-Z_]+=\S+ )*{_PROGRAMS} [^`]+)`")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Snippet:
    """Something on a page: a command of one line, or a block of code."""

    page: Path
    text: str

    def __str__(self) -> str:
        """A name for a test."""
        return f"{self.page.name}: {self.text.strip().splitlines()[0]}"


def blocks(page: Path, language: str) -> Iterator[Snippet]:
    """Fenced blocks of a language."""
    return (Snippet(page, code) for name, code in _BLOCK.findall(page.read_text()) if name == language)


def commands(page: Path) -> Iterator[Snippet]:
    """Lines of shell blocks, and commands within sentences; without comments."""
    lines = [line for block in blocks(page, "bash") for line in block.text.splitlines()]
    prose = _BLOCK.sub("", page.read_text())
    found = [*lines, *(" ".join(text.split()) for text in _INLINE.findall(prose))]
    for line in dict.fromkeys(found):
        for part in re.sub(r"\s#\s.*", "", line).split("&&"):
            if part.strip():
                yield Snippet(page, part.strip())


def links(page: Path) -> Iterator[str]:
    """What links and pictures point to, less the part behind ``#``; addresses on the network are left out."""
    prose = _BLOCK.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if not re.match(r"[a-z]+:", target):
            yield target.partition("#")[0]
