"""What the hub calls our users, and what is to be done there so that it does.

`User.hub_name` is the hub's name of the user now. It follows `User.name` when the user has no run that the hub knows under the
old name, goes when a user who may not sign in any more has none, and comes back when the user may.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select, update
from sqlalchemy.orm import Session

from toolkit_client.models import ALIVE_STATES
from toolkit_hub import clock
from toolkit_hub.domain import events
from toolkit_hub.store.access_tables import Lock
from toolkit_hub.store.tables import Event, Job, Run, User

__all__ = ["HubChange", "hub_changes", "is_hub_name", "mark_changed", "sign_in_name", "signs_in", "wanted_hub_name"]

#: Characters of a hub name.
LONGEST = 64
#: For how long a name that was given up is nobody's. Answers of the hub are kept for some seconds at most.
KEPT_FREE = timedelta(minutes=1)
#: Type of the event that says that a name was given up, and how many of the newest events are looked through for it.
FREED, LOOKED_AT = "user.hub_name_freed", 20_000


@dataclass(frozen=True)
class HubChange:
    """`name` becomes `to` at the hub; without a `name` the user is new there, without `to` it goes."""

    user_id: str
    name: str | None
    to: str | None

    @property
    def verb(self) -> Literal["make", "rename", "remove"]:
        return "make" if self.name is None else "remove" if self.to is None else "rename"


def wanted_hub_name(session: Session, name: str, user_id: str) -> str:
    """The user's own name, unless the hub still knows somebody else by it, or did a moment ago."""
    other = select(User.id).where(User.hub_name == name, User.id != user_id)
    if session.scalar(other.limit(1)) is None and not _just_freed(session, name, user_id):
        return name
    return f"{name[: LONGEST - 7]}-{user_id[:6]}"


def _just_freed(session: Session, name: str, user_id: str) -> bool:
    """Whether a token of another user may still pass for `name`: units ask the hub whose a token is, and keep the answer."""
    newest = session.scalar(select(func.max(Event.seq))) or 0
    recent = select(Event.urn, Event.data).where(
        Event.seq > newest - LOOKED_AT, Event.type == FREED, Event.time > clock.now() - KEPT_FREE
    )
    return any(data["name"] == name and not urn.endswith(f":{user_id}") for urn, data in session.execute(recent))


def is_hub_name(session: Session, name: str) -> bool:
    """Whether one of our users is to have this name at the hub."""
    return session.scalar(select(User.id).where(User.hub_name == name)) is not None


def sign_in_name(session: Session, name: str) -> str | None:
    """The hub's name of whoever signs in as `name`; None for who may not. Just enabled, one has the name that is coming."""
    row = session.execute(_signing_in().where(User.name == name)).one_or_none()
    return None if row is None else row.hub_name or wanted_hub_name(session, name, row.id)


def signs_in(session: Session, hub_name: str) -> bool:
    """Whether the user whom the hub calls so may be signed in there."""
    if session.execute(_signing_in().where(User.hub_name == hub_name)).one_or_none() is not None:
        return True
    # Just enabled, and signed in before the mirror gave the name back.
    return sign_in_name(session, hub_name) == hub_name


def _signing_in() -> Select[str, str | None]:
    locked = exists(select(Lock.resource_id).where(Lock.resource_id == User.id))
    return select(User.id, User.hub_name).where(
        User.kind == "person", User.disabled.is_(None), User.archived.is_(None), ~locked
    )


def hub_changes(session: Session) -> list[HubChange]:
    """What is due at the hub now, those that free a name first."""
    gone = or_(User.disabled.is_not(None), User.archived.is_not(None))
    ended = select(User.id, User.hub_name).where(gone, User.hub_name.is_not(None), ~_has_runs())
    changes = [HubChange(id_, name, None) for id_, name in session.execute(ended)]
    living = and_(User.disabled.is_(None), User.archived.is_(None))
    other_name = or_(User.hub_name.is_(None), User.hub_name != User.name)
    query = select(User.id, User.name, User.hub_name).where(living, other_name, ~_has_runs()).order_by(User.created)
    for id_, name, hub_name in session.execute(query):
        wanted = wanted_hub_name(session, name, id_)
        if wanted != hub_name:
            changes.append(HubChange(id_, hub_name, wanted))
    return changes


def mark_changed(session: Session, change: HubChange) -> None:
    """Record that the hub has done it. Runs that were submitted meanwhile get the new name for owner."""
    theirs = (User.id == change.user_id, User.hub_name.is_not_distinct_from(change.name))
    if session.scalar(select(User.id).where(*theirs)) is None:
        return
    session.execute(update(User).where(*theirs).values(hub_name=change.to))
    if change.name is None:
        return
    events.record(session, FREED, session.get_one(User, change.user_id).urn, data={"name": change.name})
    if change.to is not None:
        jobs = select(Job.id).where(Job.creator_id == change.user_id)
        session.execute(
            update(Run)
            .where(Run.job_id.in_(jobs), Run.owner == change.name, Run.server_removed.is_(False))
            .values(owner=change.to)
        )


def _has_runs() -> ColumnElement[bool]:
    """Whether the hub may have a server of the user, or is about to get one."""
    unfinished = or_(Run.state.in_([state.value for state in ALIVE_STATES]), Run.server_removed.is_(False))
    return exists(select(Run.id).join(Job, Job.id == Run.job_id).where(Job.creator_id == User.id, unfinished))
