"""Tables in Markdown."""

from collections.abc import Iterable, Iterator, Sequence


def table_lines(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of a table, each row as it comes."""
    for cells in (titles, ["---"] * len(titles)):
        yield f"| {' | '.join(cells)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def table_text(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A whole table."""
    return "\n".join(table_lines(titles, rows))


def aligned_lines(titles: Sequence[str], *rows: Sequence[str]) -> list[str]:
    """Lines of a table whose columns a person can read as they stand."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    lines = (titles, ["-" * width for width in widths], *rows)
    return [f"| {' | '.join(cell.ljust(n) for cell, n in zip(row, widths, strict=True))} |" for row in lines]
