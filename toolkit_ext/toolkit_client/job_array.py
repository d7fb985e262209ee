"""How arrays of jobs are written: ``0-99%8``, ``0,3,7-9``."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["MAX_INDEX", "Indices", "parse_array"]

#: No index is larger: seven digits at most, so that names of elements stay short.
MAX_INDEX = 9_999_999
#: Elements that are ever counted out; a site's own limit (`array_limit`) is lower.
_MOST = 100_000
_RANGE = re.compile(r"([0-9]{1,7})(?:-([0-9]{1,7}))?")
_LIMIT = re.compile(r"[0-9]{1,7}")
HOW = "an array is written as 0-99, 0,3,7-9, or 0-99%8 for at most 8 at once"


class Indices(NamedTuple):
    """The indices of an array's jobs, ascending and each once, and how many may run at once (None: all)."""

    indices: tuple[int, ...]
    limit: int | None

    def __str__(self) -> str:
        """The shortest form that means the same."""
        parts: list[str] = []
        start = previous = self.indices[0]
        for index in (*self.indices[1:], None):
            if index == previous + 1:
                previous = index
                continue
            parts.append(f"{start}" if start == previous else f"{start}-{previous}")
            if index is not None:
                start = previous = index
        return ",".join(parts) + ("" if self.limit is None else f"%{self.limit}")


def parse_array(text: str) -> Indices:
    """Raises `ValueError` that says how it is written."""
    words, percent, limit = text.partition("%")
    if percent and (not _LIMIT.fullmatch(limit) or int(limit) == 0):
        raise ValueError(f"after % comes how many may run at once, from 1 on; {HOW}")
    found: set[int] = set()
    for word in words.split(","):
        match = _RANGE.fullmatch(word)
        if match is None:
            raise ValueError(f"{word[:40]!r} is neither an index nor a range; {HOW}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"the range {word} ends before it begins; {HOW}")
        if len(found) + last - first >= _MOST:
            raise ValueError(f"an array has {_MOST} jobs at most")
        chosen = range(first, last + 1)
        twice = next((index for index in chosen if index in found), None)
        if twice is not None:
            raise ValueError(f"the index {twice} is there twice; {HOW}")
        found.update(chosen)
    return Indices(tuple(sorted(found)), int(limit) if percent else None)
