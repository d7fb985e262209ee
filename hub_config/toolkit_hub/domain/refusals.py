"""What a refusal says: the reason, and who could help."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from toolkit_client.urn import user_urn
from toolkit_hub import clock
from toolkit_hub.domain.names import split_name
from toolkit_hub.domain.visibility import visible_rows
from toolkit_hub.policy.decision import decide, reserved, withheld
from toolkit_hub.policy.proof import who
from toolkit_hub.policy.world import Subject
from toolkit_hub.store.access_tables import Data, Lock, Role, Team
from toolkit_hub.store.tables import Account, Organization, User
from toolkit_hub.store.world import SqlWorld

__all__ = ["ALONE", "known_users", "living_users", "locked", "similar", "who_could"]

#: For code in a job that acts as nothing but the job.
ALONE = (
    "the token of a batch job acts on that job only. For data, mount it: `toolkit job submit --data NAME:/path …`; for more, "
    "give it a role with `--role`, or use an interactive job, which carries your rights"
)
#: Names that a refusal gives.
_SHOWN = 3
#: Names that a mistyped one is compared with.
_LOOKED_AT = 2000
#: How much alike they have to be, of 1.
_LIKE = 0.75
_MODELS: dict[str, Any] = {"account": Account, "team": Team, "user": User, "role": Role, "data": Data}
#: What is named after its account, and by which column it belongs to it.
_IN_ACCOUNTS: dict[str, tuple[Any, Any]] = {"role": (Role, Role.owner_id), "data": (Data, Data.account_id)}


def locked(what: str, why: str) -> str:
    return f"the {what} is locked" + (f" ({why})" if why else "")


def who_could(session: Session, subject: Subject, action: str, urn: str, reason: str, shown: str = "") -> str:
    """A hint with up to three users who may do it themselves, of those whom the subject may know of. `shown` is the URN with
    names in it."""
    if subject.stopped:
        return "ask an administrator"
    world = SqlWorld(session, clock.now())
    asked, subject, resource = world.ask(subject, action, urn)
    if subject.stopped or resource.stopped:
        return "ask whoever locked it, or an administrator; `toolkit lock ls` shows locks"
    if decide(asked, subject, action, resource).reason != reason:
        return "ask an administrator"
    if withheld(subject, action):
        return "do it yourself: in a browser, or with `toolkit login` on a machine of your own"
    if reserved(subject.id, action, resource):
        return f"nobody can give you that; {shown or urn} can be shared only if it was started with --shareable"
    if subject.type == "job" and subject.also is None:
        return ALONE
    ids = [way.subject_id for way in who(world, action, resource)]
    names = known_users(session, subject, ids, resource.organization_id)
    if not names:
        return "ask the owner of the resource or an administrator"
    return f"{', '.join(names)} may do it, and could let you: `toolkit rule why {action}@{shown or urn}` tells more"


def known_users(session: Session, subject: Subject, ids: list[str], organization_id: str) -> list[str]:
    """Full names of up to three of these who are users and can act now, and of whom the subject may know."""
    world = SqlWorld(session, clock.now())
    names = []
    for user_id, name in living_users(session, ids, organization_id).items():
        known, subject, user = world.ask(subject, "user:get", user_urn(organization_id, user_id))
        if decide(known, subject, "user:get", user).allowed:
            names.append(name)
        if len(names) == _SHOWN:
            break
    return names


def similar(session: Session, subject: Subject, kind: str, reference: str) -> str:
    """A full name like `reference`, of something of this kind that the subject may see; empty if there is none."""
    above, own = split_name(reference)
    if len(reference) > 200 or not above:
        return ""
    if kind in _IN_ACCOUNTS:
        return _similar_in_accounts(session, subject, kind, reference)
    if kind == "account":
        return _nearest(reference, _names_of(session, subject, kind, Account.full_name))
    if kind in ("team", "user") and "." not in above:
        near = _nearest(own, _names_of(session, subject, kind, _MODELS[kind].name))
        return f"{above}.{near}" if near else ""
    return ""


def _similar_in_accounts(session: Session, subject: Subject, kind: str, reference: str) -> str:
    """`acme.job.x.user` is as likely a slip in the account's name as in the role's."""
    above, own = split_name(reference)
    accounts = _names_of(session, subject, "account", Account.full_name)
    model, owner_id = _IN_ACCOUNTS[kind]
    for account in difflib.get_close_matches(above, accounts, n=3, cutoff=_LIKE):
        owner = select(Account.id).where(Account.full_name == account, Account.archived.is_(None)).scalar_subquery()
        near = _nearest(own, _names_of(session, subject, kind, model.name, owner_id == owner))
        if near and f"{account}.{near}" != reference:
            return f"{account}.{near}"
    return ""


def _names_of(session: Session, subject: Subject, kind: str, name: Any, *where: ColumnElement[bool]) -> Sequence[str]:
    model = _MODELS[kind]
    query = select(name).where(visible_rows(session, subject, f"{kind}:get", model), *where)
    return session.scalars(query.where(model.archived.is_(None)).limit(_LOOKED_AT)).all()


def _nearest(wanted: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=_LIKE)
    return near[0] if near else ""


def living_users(session: Session, ids: list[str], organization_id: str) -> dict[str, str]:
    """id → full name, in the order of `ids`, of those ids that are people of the organization who can act now."""
    query = (
        select(User.id, Organization.name, User.name)
        .join(Organization, Organization.id == User.organization_id)
        .outerjoin(Lock, Lock.resource_id == User.id)
        .where(
            User.id.in_(ids),
            User.organization_id == organization_id,
            User.kind == "person",
            User.disabled.is_(None),
            User.archived.is_(None),
            Lock.resource_id.is_(None),
        )
    )
    found = {row[0]: f"{row[1]}.{row[2]}" for row in session.execute(query)}
    return {id_: found[id_] for id_ in ids if id_ in found}
