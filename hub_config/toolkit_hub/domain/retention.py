"""What is past its time: questions to the rows, and the marks that clean-up leaves. Nothing here touches a file or an engine.

*Due* is what the site's rules no longer keep. A period of None keeps for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import ColumnElement, and_, delete, false, func, or_, select
from sqlalchemy.orm import Session

from toolkit_client.errors import Gone
from toolkit_client.models import ALIVE_STATES
from toolkit_hub import clock
from toolkit_hub.domain import events, samples
from toolkit_hub.store.tables import Event, GateSession, IdempotencyKey, Job, LoginCode, Organization, PulledImage, Run

__all__ = [
    "DueLog",
    "Periods",
    "Pulled",
    "check_log_kept",
    "due_events",
    "due_logs",
    "due_pulls",
    "expired_keys",
    "expired_logins",
    "forget_pull",
    "known",
    "mark_log_removed",
    "record_pull",
    "record_removal",
    "remove_events",
    "remove_keys",
    "remove_logins",
    "settled",
    "settled_servers",
    "site_urn",
    "wanted_images",
]

ItemT = TypeVar("ItemT")

#: For so long a request that is sent again with the same Idempotency-Key gets the first answer.
KEY_LIFE = timedelta(hours=24)
#: A run that ended so long ago has nothing under way any more: its container and scratch files are leftovers.
SETTLED_AFTER = timedelta(minutes=10)

_ALIVE = tuple(state.value for state in ALIVE_STATES)


@dataclass(frozen=True)
class Periods:
    """How long things are kept after they were last of use."""

    logs: timedelta | None = timedelta(days=90)
    images: timedelta | None = timedelta(days=30)
    events: timedelta | None = timedelta(days=365)
    audit: timedelta | None = None
    samples: timedelta | None = timedelta(days=30)

    @classmethod
    def in_days(cls, *, logs: int, images: int, events: int, audit: int, samples: int = 30) -> Periods:
        """0 days: for ever."""
        return cls(*(timedelta(days=days) if days else None for days in (logs, images, events, audit, samples)))


# --- logs and run folders -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DueLog:
    """The log of a run that ended before the period."""

    run_id: str
    job_id: str
    urn: str
    ended: datetime


def due_logs(session: Session, periods: Periods, limit: int) -> list[DueLog]:
    """The logs to remove, the oldest first."""
    if periods.logs is None:
        return []
    query = (
        select(Run)
        .where(Run.ended < clock.now() - periods.logs, Run.log_removed.is_(None), Run.state.not_in(_ALIVE))
        .order_by(Run.ended)
        .limit(limit)
    )
    return [DueLog(run.id, run.job_id, run.job.urn, run.ended) for run in session.scalars(query) if run.ended]


def mark_log_removed(session: Session, due: DueLog, actor: str, request_id: str) -> None:
    """Say so before the file goes: a stop in between must not leave an empty log that nobody explains."""
    run = session.get_one(Run, due.run_id)
    if run.log_removed is None:
        run.log_removed = clock.now()
        samples.forget_run(session, run.id)
        data = {"runId": run.id, "ended": due.ended.isoformat(), "reason": "log_retention"}
        events.record(session, "log.removed", due.urn, actor=actor, request_id=request_id, data=data)


def check_log_kept(run: Run) -> None:
    """Raises `Gone` for a log that was removed by retention, so that nobody takes it for an empty one."""
    if run.log_removed is None:
        return
    kept = (run.log_removed - (run.ended or run.created)).days
    raise Gone(
        f"the log of run {run.index} of job {run.job_id} was removed at {run.log_removed:%Y-%m-%d %H:%M} UTC by the site's "
        f"retention, {kept} days after its end",
        "`toolkit job get` still tells how the run ended; an administrator sets c.Toolkit.log_retention",
    )


def settled(session: Session, run_ids: Collection[str]) -> dict[str, bool]:
    """Of these runs, those whose end lies back so far that nothing of theirs is in use; True: their log was removed, too.

    Ids that are missing in the answer belong to living runs, to ones that have just ended, or to none at all: see `known`.
    """
    found: dict[str, bool] = {}
    for chunk in _chunks(sorted(run_ids)):
        query = select(Run.id, Run.log_removed).where(
            Run.id.in_(chunk), Run.state.not_in(_ALIVE), Run.server_removed, Run.ended < clock.now() - SETTLED_AFTER
        )
        found.update({run_id: removed is not None for run_id, removed in session.execute(query)})
    return found


def known(session: Session, run_ids: Collection[str]) -> set[str]:
    """Those of these ids that are runs."""
    found: set[str] = set()
    for chunk in _chunks(sorted(run_ids)):
        found.update(session.scalars(select(Run.id).where(Run.id.in_(chunk))))
    return found


def settled_servers(session: Session, names: Collection[str]) -> dict[str, str]:
    """URNs of the jobs whose run with one of these server names has ended, and not just now."""
    query = select(Run).where(
        Run.server_name.in_(sorted(names)), Run.state.not_in(_ALIVE), Run.ended < clock.now() - SETTLED_AFTER
    )
    return {run.server_name: run.job.urn for run in session.scalars(query)}


# --- images ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pulled:
    """An image that the toolkit pulled, and when a run last had it."""

    reference: str
    image_id: str
    last_used: datetime


def record_pull(session: Session, reference: str, image_id: str) -> None:
    """The toolkit itself has fetched this image, so it may remove it again."""
    row = session.get(PulledImage, reference)
    if row is None:
        session.add(PulledImage(reference=reference, image_id=image_id, pulled=clock.now()))
    else:
        row.image_id, row.pulled = image_id, clock.now()
    events.record(session, "image.pulled", site_urn(session), data={"reference": reference, "imageId": image_id})


def due_pulls(session: Session, periods: Periods) -> list[Pulled]:
    """Pulled images that no living job names and no run has had for the period."""
    if periods.images is None:
        return []
    wanted = wanted_images(session)
    due = []
    for row in session.scalars(select(PulledImage).order_by(PulledImage.pulled)):
        newest = session.scalar(select(func.max(Run.created)).where(Run.image_digest == row.image_id))
        last_used = max(row.pulled, newest) if newest else row.pulled
        if last_used < clock.now() - periods.images and not {row.reference, row.image_id} & wanted:
            due.append(Pulled(row.reference, row.image_id, last_used))
    return due


def wanted_images(session: Session) -> frozenset[str]:
    """References and ids that living jobs name."""
    rows = session.execute(select(Job.image, Job.image_digest).where(Job.state.in_(_ALIVE)).distinct())
    runs = session.scalars(select(Run.image_digest).where(Run.state.in_(_ALIVE)).distinct())
    return frozenset(name for row in [*rows, tuple(runs)] for name in row if name)


def forget_pull(session: Session, reference: str) -> None:
    """It is gone, or it is no longer what the toolkit pulled."""
    session.execute(delete(PulledImage).where(PulledImage.reference == reference))


# --- rows -----------------------------------------------------------------------------------------------------------------


def expired_logins(session: Session) -> int:
    """How many one-time codes and sessions of job hosts have ended by age."""
    now = clock.now()
    return sum(
        session.scalar(select(func.count()).select_from(table).where(table.expires <= now)) or 0
        for table in (LoginCode, GateSession)
    )


def expired_keys(session: Session) -> int:
    """How many Idempotency-Keys are older than their life."""
    query = select(func.count()).select_from(IdempotencyKey).where(IdempotencyKey.created < clock.now() - KEY_LIFE)
    return session.scalar(query) or 0


def remove_logins(session: Session) -> None:
    now = clock.now()
    for table in (LoginCode, GateSession):
        session.execute(delete(table).where(table.expires <= now))


def remove_keys(session: Session) -> None:
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created < clock.now() - KEY_LIFE))


def due_events(session: Session, periods: Periods, limit: int) -> list[int]:
    """Numbers of the events to remove, the oldest first. Those of people are kept by a rule of their own."""
    query = select(Event.seq).where(_past(periods)).order_by(Event.seq).limit(limit)
    return list(session.scalars(query))


def remove_events(session: Session, numbers: Sequence[int], actor: str, request_id: str) -> None:
    """Remove these events. That they were removed is an event itself, and it comes first: the newest one is never removed,
    for its number is the store's change counter."""
    data = {"count": len(numbers), "first": numbers[0], "last": numbers[-1]}
    events.record(session, "events.removed", site_urn(session), actor=actor, request_id=request_id, data=data)
    for chunk in _chunks(numbers):
        session.execute(delete(Event).where(Event.seq.in_(chunk)))


def _past(periods: Periods) -> ColumnElement[bool]:
    now = clock.now()
    rules = []
    if periods.events is not None:
        rules.append(and_(Event.actor == events.SYSTEM, Event.time < now - periods.events))
    if periods.audit is not None:
        rules.append(and_(Event.actor != events.SYSTEM, Event.time < now - periods.audit))
    return or_(false(), *rules)


# --- the record -----------------------------------------------------------------------------------------------------------


def record_removal(
    session: Session,
    kind: str,
    name: str,
    reason: str,
    *,
    urn: str = "",
    actor: str = events.SYSTEM,
    request_id: str = "",
) -> None:
    """Every removal is an event: `image.removed`, `container.removed` and so on, of the job or else of the organization."""
    data = {"name": name, "reason": reason}
    events.record(session, f"{kind}.removed", urn or site_urn(session), actor=actor, request_id=request_id, data=data)


def site_urn(session: Session) -> str:
    """The URN that events about the site as a whole carry: its first organization's."""
    found = session.scalar(select(Organization).order_by(Organization.created).limit(1))
    return found.urn if found else ""


def _chunks(items: Sequence[ItemT], size: int = 500) -> list[Sequence[ItemT]]:
    """Pieces that fit in one statement of any database."""
    return [items[start : start + size] for start in range(0, len(items), size)]
