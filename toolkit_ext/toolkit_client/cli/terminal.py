"""Tables for people: fitted to the terminal. What is piped is never changed, for scripts cut it at column offsets."""

from __future__ import annotations

import os
import sys
import time
import unicodedata
from calendar import timegm
from collections.abc import Sequence

__all__ = ["age", "fitted", "terminal_width"]

#: Columns that go first when there is no room, in this order.
DISPENSABLE = (
    *("accessUrl", "urn", "creator", "account", "runs.exitCode", "created"),
    *("received", "sent", "read", "write"),
)
#: Columns that are shortened, and the least width that is of use.
SHORTENED = {"command": 12, "name": 12}
#: A command is not shortened below this as long as other columns can go.
COMFORTABLE = 24
TIMES = frozenset({"created", "started", "ended"})
#: Seconds in each unit of an age, with the word for it.
UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def terminal_width() -> int:
    """Columns of the terminal on stdout; COLUMNS goes before."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        # A terminal that does not know its size says 0.
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def fitted(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> tuple[list[str], list[list[str]], list[str]]:
    """Columns and rows that fit, as far as they can, and the columns that were left out.

    A table that fits is not changed. Otherwise times become ages, long commands are cut, then columns go.
    """
    names, cells, hidden = list(columns), [list(row) for row in rows], []
    if _total(names, cells) <= width:
        return names, cells, []
    for index, name in enumerate(names):
        if name in TIMES:
            for row in cells:
                row[index] = age(row[index])
    _shorten(names, cells, width, COMFORTABLE)
    for name in DISPENSABLE:
        if _total(names, cells) > width and name in names:
            index = names.index(name)
            hidden.append(name)
            del names[index]
            for row in cells:
                del row[index]
    _shorten(names, cells, width, 0)
    return names, cells, hidden


def age(moment: str, now: float | None = None) -> str:
    """``2019-12-06T20:49:41Z`` as ``5 min ago``; anything else as it is."""
    try:
        seconds = (time.time() if now is None else now) - timegm(time.strptime(moment, "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        return moment
    for size, word in UNITS:
        if seconds >= size:
            return f"{seconds // size:.0f} {word} ago"
    # The clocks of two machines differ by seconds.
    return f"{max(seconds, 0):.0f} s ago"


def _total(names: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    return sum(_column_width(names, cells, index) for index in range(len(names))) + len(names) - 1


def _column_width(names: Sequence[str], cells: Sequence[Sequence[str]], index: int) -> int:
    return max(_width(row[index]) for row in (names, *cells))


def _shorten(names: list[str], cells: list[list[str]], width: int, floor: int) -> None:
    """Cuts the long cells of some columns, as far as is needed and no further than `floor` or the column's least width."""
    for name, least in SHORTENED.items():
        over = _total(names, cells) - width
        if name not in names or over <= 0:
            continue
        index = names.index(name)
        room = max(_column_width(names, cells, index) - over, floor, least)
        for row in cells:
            row[index] = _cut(row[index], room)


def _cut(text: str, room: int) -> str:
    if _width(text) <= room:
        return text
    kept, used = "", 1
    for character in text:
        used += _width(character)
        if used > room:
            break
        kept += character
    return f"{kept}…"


def _width(text: str) -> int:
    """Terminal columns that a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )
