"""What was used of the site: hours of GPUs, CPUs and memory, by account, user or day.

A run counts from its start to its end, with what it was given, whether or not it made use of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from toolkit_client.queue_models import UsageRow
from toolkit_hub import clock
from toolkit_hub.domain.access import Actor, authorise, visible
from toolkit_hub.store.tables import Account, Job, Run, User

__all__ = ["By", "usage"]

By = Literal["account", "user", "day"]


def usage(session: Session, actor: Actor, by: By, since: datetime, until: datetime | None = None) -> list[UsageRow]:
    """Of the accounts that the actor may see. Days are of UTC; by account and user the most GPUs come first, days in order."""
    authorise(session, actor, "organization:get", actor.organization_id)
    end = min(until or clock.now(), clock.now())
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])
    for row in _runs(session, actor, since, end):
        begun, ended = max(row.started, since), min(row.ended or end, end)
        for key, hours in _shares(by, row, begun, ended):
            for place, amount in enumerate((row.gpu, row.cpu, row.mem)):
                sums[key][place] += hours * amount
        sums[_key(by, row, begun)][3] += 1
    rows = [
        UsageRow(key=key, gpu_hours=round(g, 3), cpu_hours=round(c, 3), mem_hours=round(m, 3), runs=int(count))
        for key, (g, c, m, count) in sums.items()
    ]
    return sorted(rows, key=lambda row: row.key if by == "day" else (-row.gpu_hours, -row.cpu_hours, row.key))


def _runs(session: Session, actor: Actor, since: datetime, end: datetime) -> list[Any]:
    query = (
        select(Run.started, Run.ended, Job.gpu, Job.cpu, Job.mem, Account.full_name, User.name.label("user"))
        .join(Job, Job.id == Run.job_id)
        .join(Account, Account.id == Job.account_id)
        .join(User, User.id == Job.creator_id)
        .where(visible(session, actor, "account:get", Account))
        .where(Run.started.is_not(None), Run.started < end, or_(Run.ended.is_(None), Run.ended > since))
    )
    return list(session.execute(query).all())


def _key(by: By, row: Any, time: datetime) -> str:
    if by == "day":
        return f"{time:%Y-%m-%d}"
    return str(row.full_name if by == "account" else row.user)


def _shares(by: By, row: Any, begun: datetime, ended: datetime) -> Iterator[tuple[str, float]]:
    """Hours, cut at midnight where days are asked for."""
    while begun < ended:
        cut = ended
        if by == "day":
            midnight = datetime(begun.year, begun.month, begun.day, tzinfo=UTC) + timedelta(days=1)
            cut = min(ended, midnight)
        yield _key(by, row, begun), (cut - begun).total_seconds() / 3600
        begun = cut
