"""When a role key was last used."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import or_, update
from sqlalchemy.orm import Session

from toolkit_hub.store.access_tables import RoleKey

__all__ = ["mark_used"]


def mark_used(session: Session, key_id: str, time: datetime) -> None:
    """Record a use at `time`, unless a later one is recorded."""
    earlier = or_(RoleKey.last_used.is_(None), RoleKey.last_used < time)
    session.execute(update(RoleKey).where(RoleKey.id == key_id, earlier).values(last_used=time))
