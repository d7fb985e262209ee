"""Accounts: found by id or name."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_hub.domain.access import Actor, no_such
from toolkit_hub.store.tables import Account

__all__ = ["account_for"]


def account_for(session: Session, actor: Actor, reference: str | None) -> Account:
    """The account that `reference` means: its id, its full name, or its name in the organization; None: the home account.

    Raises `NotFound`. Asks no rights: the caller does, for its own action.
    """
    if reference is None:
        return session.get_one(Account, actor.home_account_id)
    name = reference if "." in reference else f"{actor.organization_name}.{reference}"
    account = None
    if reference.isprintable():  # databases refuse some of the other characters
        account = session.scalar(select(Account).where((Account.id == reference) | (Account.full_name == name)))
    if account is None:
        raise no_such("account")
    return account
