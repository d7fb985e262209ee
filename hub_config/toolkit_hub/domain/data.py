"""Data: named volumes of accounts, as rows with URNs. Their content is another matter."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.access_models import Data as WireData
from toolkit_client.access_models import NewData, RenamePatch
from toolkit_client.errors import InvalidRequest
from toolkit_client.urn import data_urn
from toolkit_hub import clock
from toolkit_hub.domain import idempotency, resolve
from toolkit_hub.domain.access import Actor, authorise, visible
from toolkit_hub.domain.accounts import account_for
from toolkit_hub.domain.changes import tell
from toolkit_hub.domain.names import check_name, split_name, taken
from toolkit_hub.store.access_tables import Data
from toolkit_hub.store.tables import Account, Organization, User, new_id

__all__ = ["archive_data", "change_data", "create_data", "data_to_wire", "get_data", "list_data"]


def list_data(session: Session, actor: Actor, account: str | None = None) -> list[WireData]:
    """The data that the actor may see, by name; with `account` what is in it alone."""
    query = _LISTED.where(visible(session, actor, "data:get", Data), Data.archived.is_(None))
    if account is not None:
        within = resolve.find_account(session, actor, account)
        query = query.where(Data.account_id == within.id)
    found = [_listed(*row) for row in session.execute(query.order_by(Account.full_name, Data.name))]
    if account is not None and not found:
        # Who sees none of its data may know of it only as an account.
        authorise(session, actor, "account:get", within.urn)
    return found


def get_data(session: Session, actor: Actor, ref: str) -> WireData:
    data = resolve.find_data(session, actor, ref)
    authorise(session, actor, "data:get", data.urn)
    return data_to_wire(session, data)


def create_data(
    session: Session, actor: Actor, new: NewData, idempotency_key: str | None = None
) -> tuple[WireData, bool]:
    """Add data to an account; returns it, and whether it is new. Raises `Conflict` when the name is taken.

    A full name that ends with a dot (``acme.joe.``) leaves the name to us: one from its id.
    """
    above, name = split_name(new.name)
    if above and new.account is not None:
        raise InvalidRequest("the account is named twice", "give a bare name with the account, or a full name without")
    account = account_for(session, actor, above or new.account)
    authorise(session, actor, "data:new", account.urn)
    request = f"POST /data {new.model_dump_json()}"
    known = idempotency.replayed(session, actor, idempotency_key, request)
    if known is not None:
        return data_to_wire(session, session.get_one(Data, known)), False
    id_ = new_id()
    if above and not name:
        name = f"data-{id_[:8]}"
    check_name("data", name)
    _check_free(session, account, name)
    data = Data(
        id=id_,
        account_id=account.id,
        account=account,
        creator_id=actor.user_id,
        name=name,
        created=clock.now(),
        archived=None,
    )
    session.add(data)
    session.flush()
    tell(session, actor, "data:new", "data.created", data.urn, name=_full_name(account.full_name, name))
    idempotency.remember(session, actor, idempotency_key, request, data.id)
    return data_to_wire(session, data), True


def change_data(session: Session, actor: Actor, ref: str, patch: RenamePatch) -> WireData:
    """Rename it. Raises `Conflict` when the name is taken."""
    data = resolve.find_data(session, actor, ref)
    authorise(session, actor, "data:set", data.urn)
    if patch.name is not None and patch.name != data.name:
        _check_free(session, data.account, patch.name)
        before, data.name = data.name, patch.name
        session.flush()
        tell(session, actor, "data:set", "data.changed", data.urn, name=patch.name, before=before)
    return data_to_wire(session, data)


def archive_data(session: Session, actor: Actor, ref: str) -> WireData:
    """Hide it and free its name."""
    data = resolve.find_data(session, actor, ref)
    authorise(session, actor, "data:archive", data.urn)
    data.archived = clock.now()
    session.flush()
    tell(session, actor, "data:archive", "data.archived", data.urn, name=data.name)
    return data_to_wire(session, data)


def _check_free(session: Session, account: Account, name: str) -> None:
    query = select(Data.id).where(Data.account_id == account.id, Data.name == name, Data.archived.is_(None))
    if session.scalar(query) is not None:
        raise taken("data", _full_name(account.full_name, name))


def data_to_wire(session: Session, data: Data) -> WireData:
    return WireData(
        id=data.id,
        urn=data.urn,
        name=data.name,
        full_name=_full_name(data.account.full_name, data.name),
        account=data.account.full_name,
        account_id=data.account_id,
        creator=session.get_one(User, data.creator_id).full_name,
        created=data.created,
        archived=data.archived,
    )


# A list is of columns, not of objects: of long ones, mapping takes most of the time.
_LISTED = (
    select(
        Data.id,
        Data.name,
        Data.account_id,
        Data.created,
        Account.organization_id,
        Account.full_name,
        User.name,
        Organization.name,
    )
    .join(Account, Account.id == Data.account_id)
    .join(User, User.id == Data.creator_id)
    .join(Organization, Organization.id == User.organization_id)
)


def _listed(
    id_: str,
    name: str,
    account_id: str,
    created: datetime,
    organization_id: str,
    account: str,
    creator: str,
    organization: str,
) -> WireData:
    return WireData(
        id=id_,
        urn=data_urn(organization_id, account_id, id_),
        name=name,
        full_name=_full_name(account, name),
        account=account,
        account_id=account_id,
        creator=f"{organization}.{creator}",
        created=created,
    )


def _full_name(account: str, name: str) -> str:
    return f"{account}.{name}"
