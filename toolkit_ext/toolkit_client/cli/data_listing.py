"""What data holds, as rows and as a tree, while it comes."""

from __future__ import annotations

import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from toolkit_client.cli.data_ref import Content
from toolkit_client.cli.safe_text import escape
from toolkit_client.errors import NotFound
from toolkit_client.transfer.link import DataLink
from toolkit_client.transfer.paths import split_path, text_of_path
from toolkit_client.transfer.push import Listing
from toolkit_client.transfer.walk import FILE, FOLDER, LINK, Entry, Problem

__all__ = ["CONTENT_COLUMNS", "FIELDS", "rows_of", "tree_lines"]

CONTENT_COLUMNS = ("name", "status")
#: As the gate marks them; 0 in versions.
STATUSES = (None, "new", "changed", "committed")
IN_MEMORY = 16 * 2**20


def rows_of(
    link: DataLink,
    content: Content,
    path: bytes,
    *,
    flat: bool = False,
    fields: Sequence[str] | None = None,
    problem: Problem,
) -> Iterator[dict[str, Any]]:
    """A row for each entry below `path`, or for the file that it is. `fields` are those that are looked at.

    Raises NotFound.
    """
    known = [name for name in FIELDS if fields is None or name in fields]
    if fields is not None and len(known) < len(set(fields)):
        known = list(FIELDS)  # whoever shows the rows says that there is no such field
    makers = [(name, FIELDS[name]) for name in known]
    for entry, mark in _entries(link, content, path, flat, problem):
        yield {name: make(entry, mark) for name, make in makers}


def _entries(
    link: DataLink, content: Content, path: bytes, flat: bool, problem: Problem
) -> Iterator[tuple[Entry, int]]:
    """The entries with their marks, by their paths from the data's root."""
    asked: dict[str, Any] = {"version": content.version, "status": True}

    def whole_problem(below: bytes, why: str) -> None:
        problem(_joined(path, below), why)

    try:
        listing = Listing(link, content.ref, problem=whole_problem, path=path, flat=flat, **asked)
    except NotFound:
        if not path:
            raise
        path, name = split_path(path)
        listing = Listing(link, content.ref, path=path, name=name, **asked)
    if not path:
        yield from listing.marked()
        return
    for entry, mark in listing.marked():
        yield entry._replace(path=_joined(path, entry.path)), mark


def _joined(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder and name else folder or name


def _mtime(entry: Entry, _mark: int) -> str | None:
    seconds, rest = divmod(entry.mtime_ns, 10**9)
    try:
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09}Z"
    except (OverflowError, OSError, ValueError):
        return None  # a year that calendars do not have


#: Each field's value for an entry and its mark.
FIELDS: dict[str, Callable[[Entry, int], Any]] = {
    "name": lambda entry, _: text_of_path(entry.path),
    "status": lambda _, mark: STATUSES[mark] if mark < len(STATUSES) else None,
    "kind": lambda entry, _: entry.kind,
    "size": lambda entry, _: entry.size if entry.kind == FILE else None,
    "mtime": _mtime,
    "mode": lambda entry, _: f"{entry.mode:04o}",
    "target": lambda entry, _: text_of_path(entry.target) if entry.kind == LINK else None,
}


def tree_lines(link: DataLink, content: Content, path: bytes, level: int | None, problem: Problem) -> Iterator[str]:
    """The lines of a tree, with their ends; the first comes when all entries are known.

    Of each entry its depth is kept in memory; the names go to a file when they are many. An entry is the last of its folder if,
    seen from the end, no other one of that folder came after the last one above it.
    """
    depths = array("L")
    counts = {FOLDER: 0, FILE: 0}
    cut = path.count(b"/") + 1 if path else 0
    with tempfile.SpooledTemporaryFile(IN_MEMORY, mode="w+", encoding="utf-8", newline="\n") as names:
        for entry, _ in _entries(link, content, path, level == 1, problem):
            depth = max(entry.path.count(b"/") - cut, 0)
            if level is not None and depth >= level:
                continue
            depths.append(depth)
            counts[FOLDER if entry.kind == FOLDER else FILE] += 1
            names.write(_label(entry) + "\n")
        names.seek(0)
        yield f"{escape(text_of_path(path)) or '.'}\n"
        last = _last_ones(depths)
        bars: list[str] = []
        for index, line in enumerate(names):
            del bars[depths[index] :]
            yield f"{''.join(bars)}{'`-- ' if last[index] else '|-- '}{line}"
            bars.append("    " if last[index] else "|   ")
    yield f"\n{_number(counts[FOLDER], 'folder')}, {_number(counts[FILE], 'file')}\n"


def _label(entry: Entry) -> str:
    name = escape(text_of_path(split_path(entry.path)[1]))
    return f"{name} -> {escape(text_of_path(entry.target))}" if entry.kind == LINK else name


def _last_ones(depths: array[int]) -> bytearray:
    """For each entry, whether it is the last one of its folder."""
    last = bytearray(len(depths))
    seen: list[bool] = []
    for index in range(len(depths) - 1, -1, -1):
        depth = depths[index]
        del seen[depth + 1 :]
        seen.extend([False] * (depth + 1 - len(seen)))
        last[index] = not seen[depth]
        seen[depth] = True
    return last


def _number(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count:,} {what}s"
