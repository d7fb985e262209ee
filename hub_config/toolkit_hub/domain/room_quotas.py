"""What the jobs of an account, with the accounts below it, may hold at once: GPUs, CPUs, memory, jobs."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.data_models import RoomLimits
from toolkit_hub.store.tables import RoomQuota

__all__ = ["change_limits", "limits_of_accounts"]

_NAMES = tuple(RoomLimits.model_fields)


def limits_of_accounts(session: Session, account_ids: Collection[str]) -> dict[str, RoomLimits]:
    """Account → its limits; without those that have none."""
    rows = session.scalars(select(RoomQuota).where(RoomQuota.subject_id.in_(list(account_ids))))
    return {row.subject_id: RoomLimits(**{name: getattr(row, name) for name in _NAMES}) for row in rows}


def change_limits(session: Session, account_id: str, patch: RoomLimits) -> None:
    """Set those that are given; null takes one away. What runs goes on, whatever the limit."""
    row = session.get(RoomQuota, account_id)
    if row is None:
        row = RoomQuota(subject_id=account_id, subject_type="account")
        session.add(row)
    for name in patch.model_fields_set:
        setattr(row, name, getattr(patch, name))
    session.flush()
    if all(getattr(row, name) is None for name in _NAMES):
        session.delete(row)
        session.flush()
