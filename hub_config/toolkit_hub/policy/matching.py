"""Wildcards: which patterns match a URN or an action, and when one atom lies within another.

A `*` is a whole segment. In the middle of a URN pattern it is exactly one segment, at the end one or more; so a pattern
that is only `*` matches every URN, and ``O:account:A:*`` all that is in the account A but not A itself. An action pattern
is ``type:verb``, ``type:*``, ``*:verb`` or ``*``.

Because only whole segments vary, few patterns can match a given URN (47 for one of five segments): a decision looks those
up and never walks through statements.
"""

from __future__ import annotations

from functools import lru_cache

from .actions import ACTIONS
from .world import Atom

__all__ = ["SHAPES", "action_matches", "actions_for", "carried", "contains", "patterns_for", "urn_matches"]

#: The forms that URNs have, by the type of what they name. A part in braces stands for any id.
SHAPES: dict[str, tuple[tuple[str, ...], ...]] = {
    "organization": (("{org}",),),
    "user": (("{org}", "user", "{id}"),),
    "team": (("{org}", "team", "{id}"),),
    "account": (("{org}", "account", "{id}"),),
    "role": (
        ("{org}", "role", "{id}"),
        ("{org}", "team", "{team}", "role", "{id}"),
        ("{org}", "account", "{account}", "role", "{id}"),
    ),
    "job": (("{org}", "account", "{account}", "job", "{id}"),),
    "data": (("{org}", "account", "{account}", "data", "{id}"),),
}


def urn_matches(pattern: str, urn: str) -> bool:
    """Whether `urn`, which has no wildcard, is one of those that `pattern` stands for."""
    wanted, given = pattern.split(":"), urn.split(":")
    if wanted[-1] == "*":
        if len(given) < len(wanted):
            return False
        wanted.pop()
    elif len(given) != len(wanted):
        return False
    return all(part in ("*", segment) for part, segment in zip(wanted, given, strict=False))


def action_matches(pattern: str, action: str) -> bool:
    """Whether `action` (``type:verb``) is one of those that `pattern` stands for."""
    return pattern in actions_for(action)


@lru_cache(maxsize=1024)
def patterns_for(urn: str) -> tuple[str, ...]:
    """Every pattern that matches `urn`: with n segments, 3 * 2**(n-1) - 1 of them, in no order of meaning."""
    *front, last = urn.split(":")
    found: list[str] = []
    heads = [""]
    for segment in front:
        found.extend(head + "*" for head in heads)
        heads = [head + part for head in heads for part in (f"{segment}:", "*:")]
    found.extend(head + part for head in heads for part in (last, "*"))
    return tuple(found)


@lru_cache(maxsize=1024)
def actions_for(action: str) -> tuple[str, ...]:
    """Every action pattern that matches `action`."""
    resource, _, verb = action.partition(":")
    return action, f"{resource}:*", f"*:{verb}", "*"


def carried(atom: Atom) -> bool:
    """Whether all that the atom allows is among what a job may do with the rights that it carries."""
    return all(action.carried for action in ACTIONS.values() if action_matches(atom.action, action.name))


def contains(outer: Atom, inner: Atom) -> bool:
    """Whether whoever holds `outer` may already do all that `inner` allows, for any id whatever.

    Actions are compared by what there is to do: ``*:exec`` lies within ``job:*``, since only jobs have `exec`.
    """
    return _actions_within(outer.action, inner.action) and _urns_within(outer.pattern, inner.pattern)


@lru_cache(maxsize=4096)
def _actions_within(outer: str, inner: str) -> bool:
    if outer in ("*", inner):
        return True
    meant = {action for action in ACTIONS if action_matches(inner, action)}
    # An action that no longer exists lies within nothing else: it may come back and mean more.
    return bool(meant) and all(action_matches(outer, action) for action in meant)


def _urns_within(outer: str, inner: str) -> bool:
    wide, narrow = outer.split(":"), inner.split(":")
    if wide[-1] == "*":
        if len(narrow) < len(wide):
            return False
        wide.pop()
    elif len(narrow) != len(wide):
        return False
    return all(part in ("*", segment) for part, segment in zip(wide, narrow, strict=False))
