"""How a change of access is told: one event for those who watch the resource, one entry in the audit log."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from toolkit_hub.domain import audit, events
from toolkit_hub.domain.access import Actor

__all__ = ["author", "tell"]


def tell(
    session: Session,
    actor: Actor | None,
    action: str,
    type_: str,
    urn: str,
    private: dict[str, Any] | None = None,
    **data: Any,
) -> None:
    """Record that `actor` (None: the toolkit itself) did what `type_` says to `urn`, by the right to do `action`.

    `private` goes to the audit log alone: everybody of an organization sees its users and teams, and so their events.
    """
    audit.record(session, actor, action, urn, data={"event": type_, **data, **(private or {})})
    request_id = actor.request_id if actor else ""
    events.record(session, type_, urn, actor=author(actor), request_id=request_id, data=data)


def author(actor: Actor | None) -> str:
    """Who is written down as the maker of something."""
    return actor.full_name if actor else events.SYSTEM
