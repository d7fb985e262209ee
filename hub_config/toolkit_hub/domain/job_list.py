"""Lists of jobs. Which ones somebody sees is part of the query, never a filter afterwards."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Text, bindparam, cast, func, select
from sqlalchemy.orm import Session

from toolkit_client.errors import InvalidRequest
from toolkit_client.models import ALIVE_STATES
from toolkit_hub import clock
from toolkit_hub.domain.access import Actor, authorise
from toolkit_hub.domain.accounts import account_for
from toolkit_hub.domain.families import family_of
from toolkit_hub.domain.job_refs import find_job, find_job_or_array
from toolkit_hub.domain.job_view import row_to_json
from toolkit_hub.domain.site import Site
from toolkit_hub.domain.visibility import in_reach, reach_of
from toolkit_hub.policy.reach import Reach
from toolkit_hub.store.access_tables import Lock
from toolkit_hub.store.tables import Account, Base, Job, Organization, Run, User

__all__ = ["JobFilter", "list_jobs"]

#: Accounts up to which each is read by its own index.
SOURCES = 8


@dataclass(frozen=True)
class JobFilter:
    """What a list of jobs is narrowed to. `tag` is a key, or `key=value`; `array` an array whose jobs are wanted, `family` a
    job that is wanted with all that descends from it."""

    mine: bool = False
    account: str | None = None
    name: str | None = None
    tag: str | None = None
    array: str | None = None
    family: str | None = None
    states: frozenset[str] = field(default_factory=frozenset)
    created_since: datetime | None = None
    limit: int = 100
    cursor: str | None = None


def list_jobs(session: Session, site: Site, actor: Actor, wanted: JobFilter) -> dict[str, Any]:
    """The jobs that the actor may see, newest first: the JSON of a `Page[Job]`, with times as `datetime`.

    First the numbers of the page, each source read by an index that is in their order, so that reading stops with the page
    however many jobs there are; then plain rows, for mapped objects with all that hangs on them would cost more than the rest.
    """
    numbers, now = _numbers(session, actor, wanted), clock.now()
    shown = numbers[: wanted.limit]
    rows = session.connection().execute(_ROWS, {"shown": shown}).all()
    runs = _runs_of(session, [row.id for row in rows])
    items = []
    for row in rows:
        if _has_tag(row.tags, wanted.tag):
            creator = f"{row.organization}.{row.creator_name}"
            items.append(row_to_json(row, row.organization_id, row.account_name, creator, runs[row.id], site, now))
    return {"items": items, "next": str(shown[-1]) if len(numbers) > wanted.limit else None}


#: Tables instead of classes, and a connection instead of a session: the mapper's part in reading plain rows is half of the cost.
_JOBS, _RUNS, _ACCOUNTS, _USERS, _ORGANIZATIONS = (
    Base.metadata.tables[model.__tablename__] for model in (Job, Run, Account, User, Organization)
)
_ROWS = (
    select(
        *_JOBS.c,
        _ACCOUNTS.c.organization_id,
        _ACCOUNTS.c.full_name.label("account_name"),
        _USERS.c.name.label("creator_name"),
        _ORGANIZATIONS.c.name.label("organization"),
    )
    .select_from(_JOBS)
    .join(_ACCOUNTS, _ACCOUNTS.c.id == _JOBS.c.account_id)
    .join(_USERS, _USERS.c.id == _JOBS.c.creator_id)
    .join(_ORGANIZATIONS, _ORGANIZATIONS.c.id == _USERS.c.organization_id)
    .where(_JOBS.c.seq.in_(bindparam("shown", expanding=True)))
    .order_by(_JOBS.c.seq.desc())
)
_RUNS_OF = (
    select(*_RUNS.c)
    .where(_RUNS.c.job_id.in_(bindparam("jobs", expanding=True)))
    .order_by(_RUNS.c.job_id, _RUNS.c.index)
)


def _numbers(session: Session, actor: Actor, wanted: JobFilter) -> list[int]:
    """One more than the page, if there are as many."""
    conditions = [*_conditions(wanted), *_belonging(session, actor, wanted)]
    found: set[int] = set()
    for source in _sources(session, actor, wanted):
        query = select(Job.seq).where(*source, *conditions).order_by(Job.seq.desc()).limit(wanted.limit + 1)
        found.update(session.connection().execute(query).scalars())
    return sorted(found, reverse=True)[: wanted.limit + 1]


def _sources(session: Session, actor: Actor, wanted: JobFilter) -> list[list[ColumnElement[bool]]]:
    """Conditions that together, and each by itself, give only jobs that the actor may see: those that job:get is allowed on."""
    (reach,) = reach_of(session, actor.subject, "job:get", ("account", "{account}", "job", "{id}"))
    unlocked = Job.id.not_in(select(Lock.resource_id))
    may_see = [in_reach(reach, account=_unindexed(Job.account_id), id=Job.id), unlocked]
    if reach.everything:
        accounts = select(Account.id).where(Account.organization_id == actor.organization_id)
        may_see = [_unindexed(Job.account_id).in_(accounts), unlocked]
    if wanted.mine:
        may_see.append((_unindexed(Job.creator_id) if _only_alive(wanted) else Job.creator_id) == actor.user_id)
    if wanted.account:
        account = account_for(session, actor, wanted.account)
        authorise(session, actor, "account:get", account.urn)
        whole = reach.covers({"account": account.id, "id": ""})
        return [[Job.account_id == account.id, *(may_see[1:] if whole else may_see)]]
    owned = [one["account"] for one in reach.fixed if len(one) == 1 and "account" in one]
    if reach.everything or wanted.mine or _only_alive(wanted) or len(owned) > SOURCES:
        return [may_see]
    single = Reach(False, tuple(one for one in reach.fixed if "id" in one))
    sources = [[Job.account_id == account_id, unlocked] for account_id in owned]
    return sources if single.nothing else [*sources, [in_reach(single, account=Job.account_id, id=Job.id), unlocked]]


def _conditions(wanted: JobFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.name:
        conditions.append(Job.name == wanted.name)
    if wanted.tag:
        conditions.append(cast(Job.tags, Text).contains(_tag_as_stored(wanted.tag), autoescape=True))
    if wanted.states:
        # Few jobs are alive, so that index is worth while; for the others the newest are looked through.
        column = Job.state if _only_alive(wanted) else _unindexed(Job.state)
        conditions.append(column.in_(sorted(wanted.states)))
    if wanted.created_since:
        conditions.append(Job.created >= wanted.created_since)
    if wanted.cursor:
        conditions.append(Job.seq < _seq_of(wanted.cursor))
    return conditions


def _belonging(session: Session, actor: Actor, wanted: JobFilter) -> list[ColumnElement[bool]]:
    """Raises `NotFound` for an array or a job that is not there."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.array:
        array = find_job_or_array(session, actor, wanted.array)
        authorise(session, actor, "job:get", array.urn)
        conditions.append(Job.array_id == array.id)
    if wanted.family:
        job = find_job(session, actor, wanted.family)
        authorise(session, actor, "job:get", job.urn)
        conditions.append(Job.id.in_(select(family_of(job.id).c.id)))
    return conditions


def _only_alive(wanted: JobFilter) -> bool:
    return bool(wanted.states) and wanted.states <= ALIVE_STATES


def _unindexed(column: Any) -> ColumnElement[str]:
    """The column, in a form that no index serves: else the database reads all that match, and sorts them."""
    return func.coalesce(column, "")


def _runs_of(session: Session, job_ids: list[str]) -> dict[str, list[Any]]:
    runs: dict[str, list[Any]] = defaultdict(list)
    for row in session.connection().execute(_RUNS_OF, {"jobs": job_ids}):
        runs[row.job_id].append(row)
    return runs


def _tag_as_stored(tag: str) -> str:
    """A piece of the stored JSON that each job with the tag has; not only those, see `_has_tag`."""
    key, equals, value = tag.partition("=")
    whole = json.dumps({"key": key, "value": value})
    return whole if equals else json.dumps({"key": key})[:-1]


def _has_tag(tags: list[dict[str, Any]], wanted: str | None) -> bool:
    if wanted is None:
        return True
    key, equals, value = wanted.partition("=")
    return any(tag["key"] == key and (not equals or tag.get("value") == value) for tag in tags or ())


def _seq_of(cursor: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", cursor):
        raise InvalidRequest("that is no cursor of this list", "use the `next` of the page before")
    return int(cursor)
