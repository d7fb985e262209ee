"""What somebody may do something to, as conditions for the database: lists are computed by them and never filtered afterwards."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Text, and_, bindparam, cast, false, func, or_, select, true
from sqlalchemy.orm import Session

from toolkit_hub import clock
from toolkit_hub.policy.actions import ACTIONS
from toolkit_hub.policy.decision import withheld
from toolkit_hub.policy.matching import actions_for
from toolkit_hub.policy.reach import Reach, reach
from toolkit_hub.policy.world import Subject
from toolkit_hub.store.access_tables import Data, Lock, Role, Team
from toolkit_hub.store.tables import Account, Job, Organization, User
from toolkit_hub.store.world import SqlWorld

__all__ = ["in_reach", "reach_of", "visible_rows"]


def reach_of(session: Session, subject: Subject, action: str, *templates: tuple[str, ...]) -> list[Reach]:
    """What `subject` may do `action` to, of the resources whose URNs have the form `ORG:` and a template; one for each."""
    subject = SqlWorld(session, clock.now()).now_of(subject)
    if subject.stopped or withheld(subject, action):
        return [Reach(False) for _ in templates]
    held = SqlWorld(session, clock.now()).held_actions(subject.roots, actions_for(action))
    atoms = [*(one.atom for one in held), *subject.own]
    return [reach(atoms, action, (subject.organization_id, *template)) for template in templates]


def visible_rows(session: Session, subject: Subject, action: str, model: type[Any]) -> ColumnElement[bool]:
    """The rows of `model` on which `action` is allowed, archived ones included. Raises `KeyError` for an unknown action."""
    verb = ACTIONS[action].verb
    if model is Organization:
        (found,) = reach_of(session, subject, action, ())
        return and_(Organization.id == subject.organization_id, true() if found.everything else false())
    if model is Role:
        return and_(Role.organization_id == subject.organization_id, _roles(session, subject, action))
    if model in (User, Team, Account):
        (found,) = reach_of(session, subject, action, (model.__name__.lower(), "{id}"))
        return and_(model.organization_id == subject.organization_id, in_reach(found, id=model.id))
    if model not in (Job, Data):
        raise TypeError(f"no URNs are known for {model.__name__}")
    (found,) = reach_of(session, subject, action, ("account", "{account}", model.__name__.lower(), "{id}"))
    # Not the column itself: the database would begin with all that the organization has.
    account = model.account_id if found.everything else func.coalesce(model.account_id, "")
    here = account.in_(select(Account.id).where(Account.organization_id == subject.organization_id))
    where = and_(here, in_reach(found, id=model.id, account=model.account_id))
    if model is Job and verb != "lock":
        where = and_(where, Job.id.not_in(select(Lock.resource_id)))
    if action == "job:exec":
        where = and_(where, Job.carries_rights.is_(False) | (Job.creator_id == subject.id))
    return where


def _roles(session: Session, subject: Subject, action: str) -> ColumnElement[bool]:
    owners = ("team", "account")
    forms = [("role", "{id}"), *((owner, "{owner}", "role", "{id}") for owner in owners)]
    whole, *owned = reach_of(session, subject, action, *forms)
    where = and_(Role.owner_type == "organization", in_reach(whole, id=Role.id))
    for owner, found in zip(owners, owned, strict=True):
        where |= and_(Role.owner_type == owner, in_reach(found, id=Role.id, owner=Role.owner_id))
    return where


def in_reach(found: Reach, **columns: Any) -> ColumnElement[bool]:
    """The reach as a condition on these columns.

    It has one list for each combination of columns, and so the same form for thousands of values as for two: the database's
    indexes serve lists, and a form that has been seen before is not compiled again.
    """
    if found.everything:
        return true()
    values: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for fixed in found.fixed:
        values.setdefault(tuple(sorted(fixed)), []).append(fixed)
    return or_(
        false(), *(_in_lists(fixed, [columns[name] for name in names], names) for names, fixed in values.items())
    )


def _in_lists(fixed: list[dict[str, str]], columns: list[Any], names: tuple[str, ...]) -> ColumnElement[bool]:
    lists = [_in_list(column, [one[name] for one in fixed]) for column, name in zip(columns, names, strict=True)]
    if len(names) == 1:
        return lists[0]
    # Ids have no spaces, so joined by them each row stands for itself.
    joined: ColumnElement[str] = cast(columns[0], Text)
    for column in columns[1:]:
        joined = joined + " " + column
    return and_(lists[-1], _in_list(joined, [" ".join(one[name] for name in names) for one in fixed]))


def _in_list(column: Any, values: list[str]) -> ColumnElement[bool]:
    # As one parameter: SQLAlchemy would look at each value by itself.
    return column.in_(bindparam(None, values, expanding=True))  # type: ignore[no-any-return]
