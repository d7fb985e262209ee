"""The record of what happened: written in the same transaction as the change itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from toolkit_client.models import Event as WireEvent
from toolkit_hub import clock
from toolkit_hub.domain import audit
from toolkit_hub.domain.access import Actor, allowed
from toolkit_hub.domain.audit import SYSTEM
from toolkit_hub.store.tables import Event

__all__ = ["SYSTEM", "last_seq", "record", "record_all", "since", "visible_since"]


def record(
    session: Session,
    type_: str,
    urn: str,
    *,
    actor: Actor | str = SYSTEM,
    action: str = "",
    request_id: str = "",
    data: dict[str, Any] | None = None,
) -> int:
    """Append an event and return its number.

    With an `Actor` and the `action` that let it happen, the audit log gets its entry by the same call: a change that
    somebody made says so, and nobody writes it twice. (An actor's name alone is for what is no change of theirs.)
    """
    if isinstance(actor, Actor):
        request_id = request_id or actor.request_id
        if action:
            audit.record(session, actor, action, urn, data={"event": type_, **(data or {})})
        actor = actor.full_name
    event = Event(time=clock.now(), type=type_, urn=urn, actor=actor, request_id=request_id, data=data or {})
    session.add(event)
    session.flush()
    return event.seq


def record_all(session: Session, happened: Iterable[tuple[str, str, dict[str, Any]]]) -> None:
    """Append events of the toolkit itself, as (type, URN, data): many of them in little more time than one."""
    now = clock.now()
    session.add_all(Event(time=now, type=type_, urn=urn, actor=SYSTEM, data=data) for type_, urn, data in happened)
    session.flush()


def last_seq(session: Session) -> int:
    """The store's change counter: the number of the newest event."""
    return session.scalar(select(func.max(Event.seq))) or 0


def since(session: Session, seq: int, urn: str, limit: int = 100) -> list[WireEvent]:
    """The events of one resource after number `seq`, oldest first."""
    query = select(Event).where(Event.seq > seq, Event.urn == urn).order_by(Event.seq).limit(limit)
    return [WireEvent.model_validate(event) for event in session.scalars(query)]


def visible_since(
    session: Session, actor: Actor, seq: int, prefix: str, limit: int = 200
) -> tuple[list[WireEvent], int, bool]:
    """Events of `prefix` and whatever lies below it after number `seq`, each decided by the rights of now; oldest first.

    Also returns the number that has been looked at, and whether there is more.
    """
    query = (
        select(Event)
        .where(Event.seq > seq, (Event.urn == prefix) | Event.urn.startswith(f"{prefix}:", autoescape=True))
        .order_by(Event.seq)
        .limit(limit)
    )
    found = list(session.scalars(query))
    decided: dict[str, bool] = {}
    for event in found:
        if event.urn not in decided:
            decided[event.urn] = allowed(session, actor, _get_action(event.urn), event.urn)
    visible = [WireEvent.model_validate(event) for event in found if decided[event.urn]]
    return visible, found[-1].seq if found else seq, len(found) == limit


def _get_action(urn: str) -> str:
    """What one must be allowed to, to hear of a resource: `ORG:account:ID:job:ID` → `job:get`."""
    parts = urn.split(":")
    return f"{parts[-2]}:get" if len(parts) > 1 else "organization:get"
