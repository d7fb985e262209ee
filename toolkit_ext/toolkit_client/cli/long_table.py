"""Tables that may have millions of rows, in little memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["long_table"]

#: Bytes of rows that are kept in memory until the widths are known; more go to a file.
IN_MEMORY = 16 * 2**20


def long_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, header: bool = True) -> Iterator[str]:
    """The lines of a table, with their ends, as `output.table_lines` makes them. The first comes when all rows are known.

    Cells are texts that are safe to show: they have no tabs and no line ends.
    """
    widths = [len(name) for name in columns]
    with tempfile.SpooledTemporaryFile(IN_MEMORY, mode="w+", encoding="utf-8", newline="\n") as kept:
        for row in rows:
            for index, cell in enumerate(row):
                if len(cell) > widths[index]:
                    widths[index] = len(cell)
            kept.write("\t".join(row) + "\n")
        kept.seek(0)
        form = " ".join([*(f"{{:<{width}}}" for width in widths[:-1]), "{}"]) + "\n"
        if header:
            yield form.format(*columns)
        for line in kept:
            yield form.format(*line[:-1].split("\t"))
