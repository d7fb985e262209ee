"""From what people write to what it means: ids, full names, bare names, URNs with names in them; and back.

A `find_…` asks no rights, for each caller has its own action to ask for; what is archived is not found. A thing that is not
there and one that the caller may not see read alike, the hint at a similar name included (see `access.ASKED_AS`).
"""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import BindParameter, Select, bindparam, select
from sqlalchemy.orm import Session

from toolkit_client.errors import InvalidRequest
from toolkit_hub.domain.access import ASKED_AS, Actor, hidden, may_see, no_such, world_of
from toolkit_hub.domain.owners import full_name_of_owner
from toolkit_hub.domain.readable import named
from toolkit_hub.policy.matching import contains
from toolkit_hub.policy.world import Atom
from toolkit_hub.store.access_tables import Data, Role, Team
from toolkit_hub.store.tables import Account, Job, Organization, User

__all__ = [
    "find_account",
    "find_data",
    "find_organization",
    "find_role",
    "find_team",
    "find_user",
    "named",
    "resolve_urn",
]

RowT = TypeVar("RowT")


def find_organization(session: Session, actor: Actor, reference: str) -> Organization:
    """The actor's own, by its id or name: of others nothing is told."""
    if reference not in (actor.organization_id, actor.organization_name):
        raise no_such("organization")
    return session.get_one(Organization, actor.organization_id)


def find_account(session: Session, actor: Actor, reference: str) -> Account:
    """By id, full name (`acme.joe.x`), or the name of a top-level account."""
    return _found(
        session, actor, "account", reference, _account(session, actor.organization_id, _full(actor, reference))
    )


def find_user(session: Session, actor: Actor, reference: str) -> User:
    """By id, full name (`acme.alice`) or bare name."""
    user: User | None = _by_name(session, actor, User, reference)
    return _found(session, actor, "user", reference, user)


def find_team(session: Session, actor: Actor, reference: str) -> Team:
    """By id, full name (`acme.cocos`) or bare name."""
    team: Team | None = _by_name(session, actor, Team, reference)
    return _found(session, actor, "team", reference, team)


def find_role(session: Session, actor: Actor, reference: str, owner_type: str | None = None) -> Role:
    """By id or full name: `acme.joe.user` of an account, `acme.cocos.admin` of a team, `acme.user` of the organization.

    Where an account and a team share a name, the account is meant unless `owner_type` says otherwise.
    """
    role: Role | None = None
    if reference.isprintable():
        role = session.scalar(_living(Role, actor.organization_id).where(Role.id == reference))
        if role is None:
            owner, _, name = reference.rpartition(".")
            ids = _owners(session, actor, owner or actor.organization_name, owner_type)
            roles = {one.owner_id: one for one in session.scalars(_roles(actor, ids, name))}
            role = next((roles[id_] for id_ in ids if id_ in roles), None)
    if role is not None and owner_type not in (None, role.owner_type):
        role = None
    return _found(session, actor, "role", reference, role)


def find_data(session: Session, actor: Actor, reference: str, account: Account | None = None) -> Data:
    """By id, full name (`acme.joe.images`, `acme.joe..ssh`), or bare name in `account` or the home account."""
    data = None
    if reference.isprintable():
        query = (
            select(Data).join(Account).where(Account.organization_id == actor.organization_id, Data.archived.is_(None))
        )
        data = session.scalar(query.where(Data.id == reference))
        if data is None:
            above, name = _split_data(reference)
            where = Account.full_name == above
            if not above:
                where = Account.id == (account.id if account else actor.home_account_id)
            data = session.scalar(query.where(where, Account.archived.is_(None), Data.name == name))
    return _found(session, actor, "data", reference, data)


def _found(session: Session, actor: Actor, kind: str, reference: str, row: RowT | None) -> RowT:
    by_name = "-" not in reference or "." in reference
    if row is None:
        raise no_such(kind, session, actor, _full(actor, reference) if reference.isprintable() else "")
    if by_name:
        session.info.setdefault(ASKED_AS, {})[row.urn] = _full(actor, reference)  # type: ignore[attr-defined]
    return row


def _full(actor: Actor, reference: str) -> str:
    if "." in reference or _is_id(reference):
        return reference
    return f"{actor.organization_name}.{reference}"


def _is_id(reference: str) -> bool:
    return len(reference) == 36 and reference.count("-") == 4


def _living(table: Any, organization_id: str) -> Any:
    return select(table).where(table.organization_id == organization_id, table.archived.is_(None))


def _account(session: Session, organization_id: str, reference: str) -> Account | None:
    if not reference.isprintable():  # databases refuse some of the other characters
        return None
    by_id = Account.id == reference
    query = _living(Account, organization_id).where(by_id | (Account.full_name == reference))
    return session.scalar(query)  # type: ignore[no-any-return]


def _by_name(session: Session, actor: Actor, table: Any, reference: str) -> Any:
    if not reference.isprintable():
        return None
    name = reference.removeprefix(f"{actor.organization_name}.")
    query = _living(table, actor.organization_id).where((table.id == reference) | (table.name == name))
    return session.scalar(query.order_by((table.id == reference).desc()).limit(1))


def _roles(actor: Actor, owner_ids: list[str], name: str) -> Any:
    return _living(Role, actor.organization_id).where(Role.owner_id.in_(owner_ids), Role.name == name)


def _owners(session: Session, actor: Actor, reference: str, owner_type: str | None) -> list[str]:
    """Ids of what may be meant, the likeliest first."""
    found = []
    if owner_type in (None, "organization") and reference in (actor.organization_name, actor.organization_id):
        found.append(actor.organization_id)
    if owner_type in (None, "account"):
        account = _account(session, actor.organization_id, _full(actor, reference))
        found += [account.id] if account else []
    if owner_type in (None, "team"):
        team = _by_name(session, actor, Team, reference)
        found += [team.id] if team else []
    return found


def _split_data(reference: str) -> tuple[str, str]:
    """`acme.joe..ssh` is the data `.ssh` of `acme.joe`."""
    head, dot, name = reference.rpartition(".")
    if head.endswith("."):
        return head[:-1], f".{name}"
    return (head, name) if head else ("", f"{dot}{name}")


# --- URNs -------------------------------------------------------------------------------------------------------------


def resolve_urn(session: Session, actor: Actor, text: str) -> str:
    """The URN pattern by ids. Names in it stand for living things of the actor's organization.

    Raises `InvalidRequest` for a foreign organization, `NotFound` for an id or a name that means nothing, or that the actor
    may not know of.
    """
    head, *rest = text.split(":")
    if head not in ("*", actor.organization_id, actor.organization_name):
        raise InvalidRequest(
            f"the URN {text[:120]!r} begins with another organization than {actor.organization_name}",
            f"begin it with {actor.organization_name}, its id, or *",
        )
    parts = [actor.organization_id if head == actor.organization_name else head]
    if _known_by_ids(session, actor, rest):
        return ":".join([*parts, *rest])
    owner: Any = None
    for kind, reference in zip(rest[::2], [*rest[1::2], None][: len(rest[::2])], strict=False):
        if reference is None or reference == "*" or kind == "*":
            parts += [kind] if reference is None else [kind, _known_id(session, actor, kind, reference)]
            continue
        owner = _in_urn(session, actor, kind, reference, owner)
        parts += [kind, owner.id]
    urn = ":".join(parts)
    if owner is not None and not may_see(session, actor, owner.urn) and not _held_there(session, actor, urn):
        kind = _type_of(owner)
        unseen = no_such(kind, session, actor, session.info.get(ASKED_AS, {}).get(owner.urn, ""))
        raise hidden(unseen, f"{kind}:get", owner.urn)
    return urn


def _held_there(session: Session, actor: Actor, urn: str) -> bool:
    """Whether the actor may do anything there, and so knows of it."""
    held = [one.atom for one in world_of(session).all_held(actor.subject.roots)]
    return any(contains(atom, Atom(atom.action, urn)) for atom in [*held, *actor.subject.own])


# Questions mostly come with ids throughout. These are built once, for making a query takes longer than asking it.
_HERE = (Account.organization_id == bindparam("organization"), Account.archived.is_(None))
_ID: BindParameter[str] = bindparam("id")
_BY_IDS: dict[tuple[str, ...], Select[Any]] = {
    ("account",): select(Account.id).where(Account.id == _ID, *_HERE),
    ("account", "data"): (
        select(Data.id)
        .join(Account, Account.id == Data.account_id)
        .where(Data.id == _ID, Data.archived.is_(None), Data.account_id == bindparam("owner"), *_HERE)
    ),
    ("account", "job"): (
        select(Job.id)
        .join(Account, Account.id == Job.account_id)
        .where(Job.id == _ID, Job.account_id == bindparam("owner"), *_HERE)
    ),
}


def _known_by_ids(session: Session, actor: Actor, rest: list[str]) -> bool:
    """Whether what follows the organization in a URN is there just as it is. If not, names may have to be looked for."""
    kinds, ids = tuple(rest[::2]), rest[1::2]
    query = _BY_IDS.get(kinds)
    if query is None or len(ids) != len(kinds) or not all(map(_is_id, ids)):
        return False
    values = {"organization": actor.organization_id, "id": ids[-1], "owner": ids[0]}
    return session.execute(query, values).first() is not None


def _known_id(session: Session, actor: Actor, kind: str, reference: str) -> str:
    """Behind a type that is a wildcard, only ids can be told apart."""
    if reference != "*" and not _is_id(reference):
        raise InvalidRequest(
            f"the name {reference[:80]!r} stands behind a wildcard, so it is not clear what it names",
            "write its id, or the type in place of the wildcard",
        )
    return reference


def _in_urn(session: Session, actor: Actor, kind: str, reference: str, owner: Any) -> Any:
    match kind:
        case "account":
            return find_account(session, actor, reference)
        case "user":
            return find_user(session, actor, reference)
        case "team":
            return find_team(session, actor, reference)
        case "role":
            return _role_in(session, actor, reference, owner)
        case "job":
            return _job_in(session, actor, reference, owner)
        case "data":
            return _data_in(session, actor, reference, owner)
    raise InvalidRequest(
        f"{kind[:80]!r} is no type of resource", "the types are user, team, account, role, job and data"
    )


def _role_in(session: Session, actor: Actor, reference: str, owner: Any) -> Role:
    if not _is_id(reference) and "." not in reference:
        above = full_name_of_owner(session, _type_of(owner), owner.id) if owner else actor.organization_name
        reference = f"{above}.{reference}"
    role = find_role(session, actor, reference, _type_of(owner) if owner else None)
    if owner is not None and role.owner_id != owner.id:
        raise no_such("role", session, actor, reference)
    return role


def _job_in(session: Session, actor: Actor, reference: str, owner: Any) -> Job:
    query = select(Job).join(Account).where(Account.organization_id == actor.organization_id)
    if owner is not None:
        query = query.where(Job.account_id == owner.id)
    name = reference.rpartition(".")[2]
    job = session.scalar(query.where(Job.id == reference)) or (
        session.scalar(query.where(Job.name == name).order_by(Job.seq.desc()).limit(1)) if owner is not None else None
    )
    if job is None:
        raise no_such("job")
    return job


def _data_in(session: Session, actor: Actor, reference: str, owner: Any) -> Data:
    data = find_data(session, actor, reference, owner)
    if owner is not None and data.account_id != owner.id:
        raise no_such("data", session, actor, reference)
    return data


def _type_of(row: Any) -> str:
    return type(row).__name__.lower()
