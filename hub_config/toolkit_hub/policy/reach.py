"""Which resources of a kind some atoms cover, as values of ids: what lists turn into a condition for the database. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from .matching import actions_for
from .world import Atom

__all__ = ["Reach", "reach"]


@dataclass(frozen=True)
class Reach:
    """Everything of the kind, or what has all the values of one of `fixed`: ``({"account": A}, {"account": B, "id": J})``.

    No entry of `fixed` lies within another one. `everything` goes with an empty `fixed`.
    """

    everything: bool
    fixed: tuple[dict[str, str], ...] = ()

    @property
    def nothing(self) -> bool:
        return not self.everything and not self.fixed

    def covers(self, values: dict[str, str]) -> bool:
        """Whether the resource with these values is among them."""
        return self.everything or any(all(values[key] == value for key, value in one.items()) for one in self.fixed)


def reach(atoms: Iterable[Atom], action: str, template: Sequence[str]) -> Reach:
    """What `atoms` allow `action` on, among the resources whose URNs have the form `template`.

    `template` are the URN's segments; one in braces stands for any value, as in
    ``(organization_id, "account", "{account}", "job", "{id}")``.
    """
    found: dict[tuple[tuple[str, str], ...], None] = {}
    actions = actions_for(action)
    for atom in atoms:
        if atom.action not in actions:
            continue
        values = _unify(atom.pattern.split(":"), template)
        if values == ():
            return Reach(True)
        if values is not None:
            found[values] = None
    return Reach(False, tuple(dict(values) for values in found if not _wider(values, found)))


def _unify(pattern: list[str], template: Sequence[str]) -> tuple[tuple[str, str], ...] | None:
    """The values that the template's parts in braces must have for the pattern to match; None if it cannot."""
    if pattern[-1] == "*":
        if len(template) < len(pattern):
            return None
        pattern = pattern[:-1]
    elif len(pattern) != len(template):
        return None
    values: dict[str, str] = {}
    for part, form in zip(pattern, template, strict=False):
        if part == "*":
            continue
        if form.startswith("{"):
            if values.setdefault(form[1:-1], part) != part:
                return None
        elif part != form:
            return None
    return tuple(values.items())


def _wider(values: tuple[tuple[str, str], ...], found: dict[tuple[tuple[str, str], ...], None]) -> bool:
    """Whether another entry asks for less. Entries have few values, so their parts are looked up instead of compared with all."""
    return any(part in found for size in range(1, len(values)) for part in combinations(values, size))
