"""The record of what happened: written in the same transaction as the change itself."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from toolkit_client.models import Event as WireEvent
from toolkit_hub import clock
from toolkit_hub.store.tables import Event

__all__ = ["SYSTEM", "last_seq", "record", "since"]

#: Name of the actor when the toolkit itself acts.
SYSTEM = "toolkit"


def record(
    session: Session,
    type_: str,
    urn: str,
    *,
    actor: str = SYSTEM,
    request_id: str = "",
    data: dict[str, Any] | None = None,
) -> int:
    """Append an event and return its number."""
    event = Event(time=clock.now(), type=type_, urn=urn, actor=actor, request_id=request_id, data=data or {})
    session.add(event)
    session.flush()
    return event.seq


def last_seq(session: Session) -> int:
    """The store's change counter: the number of the newest event."""
    return session.scalar(select(func.max(Event.seq))) or 0


def since(session: Session, seq: int, urn: str, limit: int = 100) -> list[WireEvent]:
    """The events of one resource after number `seq`, oldest first."""
    query = select(Event).where(Event.seq > seq, Event.urn == urn).order_by(Event.seq).limit(limit)
    return [WireEvent.model_validate(event) for event in session.scalars(query)]
