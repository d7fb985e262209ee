"""Sweeps of the database: log-ins and keys past their life, events past their retention."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.orm import Session

from toolkit_hub.domain import retention, samples
from toolkit_hub.garbage.sweep import Due, Ground, Who

__all__ = ["old_events", "past_samples", "short_lived"]

#: Events that go in one transaction: other writers wait for it.
EVENTS_AT_ONCE = 500
#: Runs whose samples go in one transaction.
RUNS_AT_ONCE = 50


async def short_lived(ground: Ground, _limit: int) -> list[Due]:
    """One-time codes, sessions of job hosts, Idempotency-Keys: worth nothing any more."""
    logins = await ground.store.read(retention.expired_logins)
    keys = await ground.store.read(retention.expired_keys)
    due = []
    if logins:
        due.append(_rows(ground, "login", f"{logins} codes and sessions of job hosts", retention.remove_logins))
    if keys:
        due.append(_rows(ground, "idempotency-key", f"{keys} Idempotency-Keys", retention.remove_keys))
    return due


def _rows(ground: Ground, kind: str, name: str, remove_rows: Callable[[Session], None]) -> Due:
    reason = "past their life"

    def work(session: Session, who: Who) -> None:
        remove_rows(session)
        retention.record_removal(session, kind, name, reason, actor=who.actor, request_id=who.request_id)

    async def remove(who: Who) -> None:
        await ground.store.write(work, who)

    return Due(kind, name, reason, remove)


async def old_events(ground: Ground, limit: int) -> list[Due]:
    """Events in portions; that they were removed is an event, with how many and which numbers."""
    numbers = await ground.store.read(retention.due_events, ground.periods, limit * EVENTS_AT_ONCE)
    portions = [numbers[start : start + EVENTS_AT_ONCE] for start in range(0, len(numbers), EVENTS_AT_ONCE)]
    return [_portion(ground, portion) for portion in portions]


def _portion(ground: Ground, numbers: list[int]) -> Due:
    async def remove(who: Who) -> None:
        await ground.store.write(retention.remove_events, numbers, who.actor, who.request_id)

    name = f"{len(numbers)} events between {numbers[0]} and {numbers[-1]}"
    return Due("event", name, "older than event_retention or audit_retention", remove)


async def past_samples(ground: Ground, limit: int) -> list[Due]:
    """What ended runs used: readings and steps past the time for which they are kept. A running run's go as it runs."""
    runs = await ground.store.read(samples.due_runs, ground.periods.samples, limit * RUNS_AT_ONCE)
    portions = [runs[start : start + RUNS_AT_ONCE] for start in range(0, len(runs), RUNS_AT_ONCE)]
    return [_samples(ground, portion) for portion in portions]


def _samples(ground: Ground, runs: list[str]) -> Due:
    name, reason = f"samples of {len(runs)} runs", "past the time of their step, or metrics_retention"

    def work(session: Session, who: Who) -> None:
        samples.remove_due(session, runs, ground.periods.samples)
        retention.record_removal(session, "samples", name, reason, actor=who.actor, request_id=who.request_id)

    async def remove(who: Who) -> None:
        await ground.store.write(work, who)

    return Due("samples", name, reason, remove)
