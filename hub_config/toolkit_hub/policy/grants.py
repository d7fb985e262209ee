"""Only what one holds can be given on. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from .matching import contains
from .world import Atom, Held

__all__ = ["earlier", "not_held"]


def not_held(held: Sequence[Held], wanted: Sequence[Atom], until: datetime | None) -> list[Atom]:
    """The atoms of `wanted` that do not lie within one of `held` that lasts at least until `until` (None: for ever).

    Each has to lie within a single one: what two statements cover only between them may still be more than both, for
    what is created later.
    """
    lasts = {one.atom for one in held if one.expires is None or (until is not None and one.expires >= until)}
    return [atom for atom in wanted if atom not in lasts and not any(contains(outer, atom) for outer in lasts)]


def earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    """The first of two ends; None is never."""
    if one is None or other is None:
        return one or other
    return min(one, other)
