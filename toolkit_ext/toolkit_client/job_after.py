"""How a job names those that it waits for: ``ID``, ``ID:ok``, ``ID:any``."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

__all__ = ["After", "parse_after"]

Condition = Literal["ok", "any"]
#: An id, a bare name, a full name, or an element of an array as ``sweep:3``.
_REFERENCE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,511}(?::[0-9]{1,7})?")


class After(NamedTuple):
    """`reference` is a job, an array or an element of one; ``ok``: it has to succeed, ``any``: it has to end."""

    reference: str
    condition: Condition

    def __str__(self) -> str:
        return f"{self.reference}:{self.condition}"


def parse_after(text: str) -> After:
    """Raises `ValueError` that says how it is written."""
    reference, _, word = text.rpartition(":")
    condition: Condition = "any" if word == "any" else "ok"
    if not reference or word not in ("ok", "any"):
        reference = text
    if not _REFERENCE.fullmatch(reference):
        raise ValueError(
            f"{text[:80]!r} names no job: write its ID or name, and behind it `:ok` (it has to succeed; the default) or "
            "`:any` (it has to end)"
        )
    return After(reference, condition)
