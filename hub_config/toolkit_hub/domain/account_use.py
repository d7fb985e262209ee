"""What accounts have used of the site of late: the memory of fair share, which halves with each week."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_hub import clock
from toolkit_hub.queue.planning.fair_share import AccountShare, decayed
from toolkit_hub.store.tables import AccountUse

__all__ = ["HALF_LIFE", "add_use", "shares"]

HALF_LIFE = timedelta(days=7)


def add_use(session: Session, account_id: str, site_seconds: float) -> None:
    """Count what a run has used: seconds times its share of the whole site."""
    now = clock.now()
    row = session.get(AccountUse, account_id)
    if row is None:
        session.add(AccountUse(account_id=account_id, used=site_seconds, as_of=now, weight=1.0))
        return
    row.used, row.as_of = _left(row) + site_seconds, now


def shares(session: Session) -> dict[str, AccountShare]:
    """Account → what is left of its use now, and its weight."""
    return {row.account_id: AccountShare(_left(row), row.weight) for row in session.scalars(select(AccountUse))}


def _left(row: AccountUse) -> float:
    return decayed(row.used, (clock.now() - row.as_of).total_seconds(), HALF_LIFE.total_seconds())
