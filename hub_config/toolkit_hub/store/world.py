"""The policy's `World` as the store has it now: bounded, indexed probes, without a cache.

This is on the way of every request, so it is plain SQL, prepared once by the drivers, and no objects are mapped. One
decision is one statement (`SqlWorld.ask`): the groups that the subject is in, the statements of these groups that fit, and
whatever stops the subject or the resource.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy.orm import Session

from toolkit_hub.policy.matching import actions_for, patterns_for
from toolkit_hub.policy.world import Atom, Held, Resource, Step, Subject

__all__ = ["SqlWorld"]

#: Groups that a locked role would lead to are not looked for, and nothing of what it holds counts.
_CLOSURE = """
WITH RECURSIVE closure(id) AS (
    SELECT value FROM {roots} WHERE value NOT IN (SELECT resource_id FROM locks)
    UNION
    SELECT m.group_id FROM closure {groups_of_closure}
    WHERE (m.expires IS NULL OR m.expires > :now) AND m.group_id NOT IN (SELECT resource_id FROM locks)
)"""

#: The pattern and the action lead to few rows by their index; the plus sign keeps SQLite from trying each group there.
_FITTING = """
SELECT {kind} a.action, a.pattern, a.subject_id, a.policy_id, a.expires FROM policy_atoms a
WHERE a.pattern {in_patterns} AND a.action {in_actions} AND (a.expires IS NULL OR a.expires > :now)"""

_HELD = "".join((_CLOSURE, _FITTING, " AND {unindexed}a.subject_id IN (SELECT id FROM closure)"))

_STOPPED = """
SELECT 'lock', why, '', resource_id, NULL, NULL FROM locks WHERE resource_id = :subject
UNION ALL SELECT 'user', CASE WHEN archived IS NULL THEN 'disabled' ELSE 'archived' END, NULL, id, NULL, NULL
    FROM users WHERE id = :subject AND (disabled IS NOT NULL OR archived IS NOT NULL)"""

_OF_RESOURCE = """
SELECT 'jobs', why, NULL, resource_id, NULL, NULL FROM locks WHERE resource_id = :resource
UNION ALL SELECT 'job', o.name || '.' || u.name, NULL, u.id, NULL, NULL
    FROM jobs j JOIN users u ON u.id = j.creator_id JOIN organizations o ON o.id = u.organization_id
    WHERE j.id = :resource AND j.carries_rights"""

_ASK = " UNION ALL".join((_HELD, _STOPPED, _OF_RESOURCE))

_HOLDERS = "".join((_FITTING, " AND a.subject_id NOT IN (SELECT resource_id FROM locks)"))

_ATOMS = """
SELECT a.action, a.pattern, a.subject_id, a.policy_id, a.expires FROM closure {atoms_of_closure}
WHERE (a.expires IS NULL OR a.expires > :now)"""
#: By actions alone, for lists: which patterns they come with says what may be seen.
_HELD_ACTIONS = "".join((_CLOSURE, _ATOMS, " AND a.action {in_actions}"))
_ALL_HELD = "".join((_CLOSURE, _ATOMS, " ORDER BY a.id"))

_MEMBERSHIPS = """
SELECT m.member_id, m.group_id, m.expires, m.group_type, r.owner_type
FROM closure {groups_of_closure} LEFT JOIN roles r ON r.id = m.group_id
WHERE (m.expires IS NULL OR m.expires > :now) AND m.group_id IN (SELECT id FROM closure)
ORDER BY m.created, m.id"""
_GROUPS = "".join((_CLOSURE, _MEMBERSHIPS))

_MEMBERS = """
WITH RECURSIVE below(id) AS (
    SELECT value FROM {roots} WHERE value NOT IN (SELECT resource_id FROM locks)
    UNION
    SELECT m.member_id FROM below {members_of_below}
    WHERE (m.expires IS NULL OR m.expires > :now) AND m.member_id NOT IN (SELECT resource_id FROM locks)
)
SELECT m.member_id, m.group_id, m.expires FROM below {members_of_below}
WHERE (m.expires IS NULL OR m.expires > :now) AND m.member_id IN (SELECT id FROM below)
ORDER BY m.created, m.id"""

#: The joins within: alias, table, its column, and the table that is walked through row by row.
_JOINS = {
    "groups_of_closure": ("m", "memberships", "member_id", "closure"),
    "members_of_below": ("m", "memberships", "group_id", "below"),
    "atoms_of_closure": ("a", "policy_atoms", "subject_id", "closure"),
}

#: Which groups come first in `all_held`: own policies, then the organization's roles, teams, their roles, accounts' roles.
_RANKS = {"organization": 1, None: 2, "team": 3, "account": 4}


class SqlWorld:
    """Memberships and policies at `now`, in the session's transaction. Implements `policy.world.World`."""

    def __init__(self, session: Session, now: datetime) -> None:
        self._session = session
        self._sqlite = session.get_bind().dialect.name == "sqlite"
        # SQLite compares times as text: in the form in which `UtcDateTime` keeps them.
        self._now = now.replace(tzinfo=None).isoformat(" ", "microseconds") if self._sqlite else now

    def ask(self, subject: Subject, action: str, urn: str) -> tuple[SqlWorld, Subject, Resource]:
        """All that `policy.decision.decide` needs for one question, by one statement."""
        type_, _, resource_id = urn.rpartition(":")
        is_job = type_.endswith(":job")
        rows = self._rows(
            _ASK,
            kind="'held',",
            roots=subject.roots,
            patterns=patterns_for(urn),
            actions=actions_for(action),
            subject=subject.id,
            resource=resource_id if is_job else "",
        )
        held, stopped, resource_stopped, private_to, private_name = [], "", "", None, ""
        for kind, *row in rows:
            if kind == "held":
                held.append(self._held(row))
            elif kind == "job":
                private_to, private_name = row[2], row[0]
            elif kind == "jobs":
                resource_stopped = _locked("job", row[0])
            else:
                stopped = _stopped(subject, kind, row[0])
        if stopped:
            subject = replace(subject, stopped=stopped)
        return _Asked(self, held), subject, Resource(urn, resource_stopped, private_to, private_name)

    def now_of(self, subject: Subject) -> Subject:
        """The subject, stopped if it is locked or disabled by now."""
        rows = self._rows(_STOPPED, subject=subject.id)
        return replace(subject, stopped=_stopped(subject, rows[0][0], rows[0][1])) if rows else subject

    def held(self, roots: Sequence[str], patterns: Collection[str], actions: Collection[str]) -> list[Held]:
        """The atoms made of these patterns and actions that `roots`, or a group that they are in at any depth, hold."""
        return self._held_by(_HELD, roots=roots, patterns=patterns, actions=actions)

    def held_actions(self, roots: Sequence[str], actions: Collection[str]) -> list[Held]:
        """As `held`, whatever the pattern."""
        return self._held_by(_HELD_ACTIONS, roots=roots, actions=actions)

    def all_held(self, roots: Sequence[str]) -> list[Held]:
        """Every atom that `roots`, or a group that they are in at any depth, hold: own ones first, then those of the
        organization's roles, of teams and their roles, of accounts' roles; the nearer group first, then in order of writing.
        """
        found: dict[str, list[Held]] = defaultdict(list)
        for held in self._held_by(_ALL_HELD, roots=roots):
            found[held.subject_id].append(held)
        ranks = dict.fromkeys(roots, 0)
        for step, rank in self._groups(roots):
            ranks.setdefault(step.group_id, rank)
        return [held for holder in sorted(ranks, key=lambda id_: ranks[id_]) for held in found[holder]]

    def holders(self, patterns: Collection[str], actions: Collection[str]) -> list[Held]:
        """The atoms made of these patterns and actions, whoever holds them."""
        return self._held_by(_HOLDERS, patterns=patterns, actions=actions)

    def groups(self, roots: Sequence[str]) -> list[Step]:
        """The memberships by which `roots` are in groups, nearest first; all of them, since the shortest way to a group
        is not always the one that lasts longest."""
        return [step for step, _ in self._groups(roots)]

    def members(self, groups: Collection[str]) -> list[Step]:
        """The memberships below these groups at any depth, nearest first."""
        rows = self._rows(_MEMBERS, roots=groups)
        below: dict[str, list[Any]] = defaultdict(list)
        for row in rows:
            below[row[1]].append(row)
        steps, seen, level = [], set(groups), list(groups)
        while level:
            found = [row for group in level for row in below[group]]
            steps += [Step(row[0], row[1], self._time(row[2])) for row in found]
            level = list(dict.fromkeys(row[0] for row in found if row[0] not in seen))
            seen.update(level)
        return steps

    def _groups(self, roots: Sequence[str]) -> list[tuple[Step, int]]:
        above: dict[str, list[Any]] = defaultdict(list)
        for row in self._rows(_GROUPS, roots=roots):
            above[row[0]].append(row)
        steps, seen, level = [], set(roots), list(roots)
        while level:
            found = sorted((row for member in level for row in above[member]), key=_rank)
            steps += [(Step(row[0], row[1], self._time(row[2])), _rank(row)) for row in found]
            level = list(dict.fromkeys(row[1] for row in found if row[1] not in seen))
            seen.update(level)
        return steps

    def _held_by(self, statement: str, **parameters: Any) -> list[Held]:
        return [self._held(row) for row in self._rows(statement, **parameters)]

    def _held(self, row: Sequence[Any]) -> Held:
        action, pattern, subject_id, policy_id, expires = row
        return Held(Atom(action, pattern), subject_id, policy_id, self._time(expires))

    def _time(self, stored: Any) -> datetime | None:
        if stored is None:
            return None
        if isinstance(stored, str):
            return datetime.fromisoformat(stored).replace(tzinfo=UTC)
        return stored.astimezone(UTC)  # type: ignore[no-any-return]

    def _rows(self, statement: str, *, kind: str = "", **parameters: Any) -> Sequence[Any]:
        self._session.flush()  # a transaction's own changes count
        values: dict[str, Any] = {"now": self._now}
        sizes = []
        for name, value in parameters.items():
            if isinstance(value, str):
                values[name] = value
            elif not self._sqlite:
                values[name] = list(value)
            elif name == "roots":
                values[name] = json.dumps(list(value))
            else:  # by themselves they are compared faster than out of JSON
                sizes.append((name, len(value)))
                values.update({f"{name}{index}": one for index, one in enumerate(value)})
        text = _sql(statement, kind, self._sqlite, tuple(sizes))
        return self._session.connection().exec_driver_sql(text, values).all()


class _Asked(SqlWorld):
    """A world that has been asked one question already: the decision about it asks nothing more."""

    def __init__(self, world: SqlWorld, found: list[Held]) -> None:
        self._session, self._sqlite, self._now = world._session, world._sqlite, world._now
        self._found = found

    def held(self, roots: Sequence[str], patterns: Collection[str], actions: Collection[str]) -> list[Held]:
        return self._found


def _rank(row: Any) -> int:
    return _RANKS[row[4]]


def _stopped(subject: Subject, kind: str, words: str) -> str:
    return _locked(subject.type, words) if kind == "lock" else f"the user is {words}"


def _locked(what: str, why: str) -> str:
    return f"the {what} is locked" + (f" ({why})" if why else "")


@cache
def _sql(statement: str, kind: str, sqlite: bool, sizes: tuple[tuple[str, int], ...]) -> str:
    """The statement in the database's words.

    Both databases have to be told to begin with the groups at hand, which are few, and to look each of them up by the index:
    neither can know how many there will be, and would read whole tables.
    """
    if sqlite:
        lists = {name: ", ".join(f":{name}{index}" for index in range(size)) for name, size in sizes}
        return statement.format(
            kind=kind,
            roots="json_each(:roots)",
            in_patterns=f"IN ({lists.get('patterns', '')})",
            in_actions=f"IN ({lists.get('actions', '')})",
            unindexed="+",
            **{
                name: f"CROSS JOIN {table} {alias} ON {alias}.{column} = {outer}.id"
                for name, (alias, table, column, outer) in _JOINS.items()
            },
        )
    text = statement.format(
        kind=kind,
        roots="unnest(CAST(:roots AS text[])) AS listed(value)",
        in_patterns="= ANY(CAST(:patterns AS text[]))",
        in_actions="= ANY(CAST(:actions AS text[]))",
        unindexed="",
        **{
            name: f"CROSS JOIN LATERAL (SELECT * FROM {table} WHERE {column} = {outer}.id OFFSET 0) {alias}"  # noqa: S608 - of `_JOINS`
            for name, (alias, table, column, outer) in _JOINS.items()
        },
    )
    return re.sub(r":(\w+)", r"%(\1)s", text)
