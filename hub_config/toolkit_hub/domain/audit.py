"""The audit log: who did, granted or was refused what. Written in the transaction of the change; nobody can edit it later.

Changes that are events too reach it by `events.record(..., actor=an Actor, action=...)`, which writes both. What is no event
(a refusal, a key that was tried) is written by `record`. Secrets never come here, whatever a caller hands over: see `redacted`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from toolkit_client.access_models import AuditRecord
from toolkit_client.errors import InvalidRequest, NotFound
from toolkit_client.models import Page
from toolkit_client.urn import user_urn
from toolkit_hub import clock
from toolkit_hub.domain import access, resolve
from toolkit_hub.domain.access import Actor
from toolkit_hub.store.access_tables import AuditEntry, Role
from toolkit_hub.store.tables import Account, Job

__all__ = ["SYSTEM", "AuditFilter", "list_audit", "record", "redacted"]

#: Name of the actor when the toolkit itself acts.
SYSTEM = "toolkit"

#: Characters of a text that are kept: a whole statement, and no more.
LONGEST = 10_000

#: What stands in the place of a secret.
HIDDEN = "[not recorded]"

_SECRET_NAME = re.compile(
    r"passw|secret|token|credential|authori[sz]ation|cookie|(?<![a-z])otp(?![a-z])|private_?key|api_?key|secret_?hash|key_?hash",
    re.IGNORECASE,
)
#: A role key, a job's own token, the value of an Authorization header, a password inside a URL.
_SECRET_TEXT = re.compile(
    r"\btk[rj]_[A-Za-z0-9_.-]{4,}|(?<=\bBearer )\S{6,}|(?<=\btoken )[A-Za-z0-9_-]{16,}|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def record(
    session: Session,
    actor: Actor | None,
    action: str,
    urn: str,
    *,
    outcome: str = "done",
    reason: str = "",
    data: Mapping[str, Any] | None = None,
    time: datetime | None = None,
) -> None:
    """Append an entry. Without an actor the toolkit itself acts; `time` is for what happened before this moment.

    `action` is one of `policy.actions`; `urn` what it was done to; `outcome` ``done`` or ``refused``. `reason` is the
    statement that allowed it or why it was refused; for what was done it may be left out where `access.authorise` asked
    for this action in the same transaction, which is remembered in `session.info`.
    """
    if not reason and outcome == "done" and actor is not None:
        reason = session.info.get(access.GRANTED_BY, {}).get((actor.subject.id, action), "")
    session.add(
        AuditEntry(
            time=time or clock.now(),
            actor=(actor.full_name if actor else SYSTEM)[:255],
            actor_urn=_urn_of(session, actor) if actor else "",
            via=actor.via if actor else "",
            action=_plain(action, 64),
            urn=_plain(urn, 255),
            outcome=outcome,
            reason=_text(reason),
            request_id=_plain(actor.request_id, 64) if actor else "",
            address=_plain(actor.address, 64) if actor else "",
            data=redacted(data or {}),
        )
    )


def _urn_of(session: Session, actor: Actor) -> str:
    """Of the user, the role (by its key) or the job (by its own token) that acts; empty for what is not known any more."""
    subject = actor.subject
    if subject.type == "user":
        return user_urn(subject.organization_id, subject.id)
    if subject.own:
        return subject.own[0].pattern
    row = session.get(Role, subject.id) if subject.type == "role" else session.get(Job, subject.id)
    return row.urn if row else ""


# --- what is kept out -------------------------------------------------------------------------------------------------


def redacted(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data as JSON without secrets: neither under a name that says so nor in a text that looks like one."""
    return {str(key)[:255]: _value(str(key), value) for key, value in data.items()}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, bool | int | float) or value is None:
        return value
    if _SECRET_NAME.search(name):
        return HIDDEN
    if isinstance(value, Mapping):
        return redacted(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Sequence | set | frozenset):
        return [_value(name, item) for item in value]
    return _text(str(value))


def _text(text: str) -> str:
    text = _SECRET_TEXT.sub(HIDDEN, text.replace("\x00", ""))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"


def _plain(text: str, longest: int) -> str:
    """One line without secrets that fits its column."""
    return _SECRET_TEXT.sub(HIDDEN, _CONTROL.sub("?", text))[:longest]


# --- looking ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AuditFilter:
    """What the log is narrowed to.

    `actor` is the name that it had then (of the organization's users the bare one will do), an id or a URN. `urn`, by ids or
    names, means what lies below it too. `action` may be a type alone, as ``role`` or ``role:member``.
    """

    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    urn: str | None = None
    action: str | None = None
    outcome: str | None = None
    limit: int = 100
    cursor: str | None = None


def list_audit(session: Session, actor: Actor, wanted: AuditFilter) -> Page[AuditRecord]:
    """The entries that the actor may read, the newest first: all with `organization:audit`; those of an account and what is in
    it with `account:audit` on that account; one's own always. Raises `InvalidRequest` for a filter that means nothing."""
    query = (
        select(AuditEntry)
        .where(_readable(session, actor), *_conditions(session, actor, wanted))
        .order_by(AuditEntry.seq.desc())
        .limit(wanted.limit + 1)
    )
    found = list(session.scalars(query))
    shown = found[: wanted.limit]
    more = len(found) > wanted.limit
    return Page[AuditRecord](
        items=[AuditRecord.model_validate(entry) for entry in shown], next=str(shown[-1].seq) if more else None
    )


def _readable(session: Session, actor: Actor) -> ColumnElement[bool]:
    """The entries' URNs begin with ids, all of one length: so the account of an entry is a piece of its URN."""
    organization = actor.organization_id
    in_organization = or_(AuditEntry.urn == organization, AuditEntry.urn.startswith(f"{organization}:"))
    if access.allowed(session, actor, "organization:audit", organization):
        return in_organization
    prefix = f"{organization}:account:"
    account = func.substr(AuditEntry.urn, len(prefix) + 1, 36)
    readable = select(Account.id).where(access.visible(session, actor, "account:audit", Account))
    of_accounts = AuditEntry.urn.startswith(prefix) & account.in_(readable)
    return or_(AuditEntry.actor_urn == _urn_of(session, actor), of_accounts)


def _conditions(session: Session, actor: Actor, wanted: AuditFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.since:
        conditions.append(AuditEntry.time >= wanted.since)
    if wanted.until:
        conditions.append(AuditEntry.time < wanted.until)
    if wanted.actor:
        conditions.append(_by_actor(actor, wanted.actor))
    if wanted.urn:
        urn = _by_ids(session, actor, wanted.urn)
        conditions.append((AuditEntry.urn == urn) | AuditEntry.urn.startswith(f"{urn}:", autoescape=True))
    if wanted.action:
        whole = wanted.action.removesuffix(":*")
        conditions.append((AuditEntry.action == whole) | AuditEntry.action.startswith(f"{whole}:", autoescape=True))
    if wanted.outcome:
        if wanted.outcome not in ("done", "refused"):
            raise InvalidRequest(f"an outcome is done or refused, not {wanted.outcome[:20]!r}", "")
        conditions.append(AuditEntry.outcome == wanted.outcome)
    if wanted.cursor:
        conditions.append(AuditEntry.seq < _seq_of(wanted.cursor))
    return conditions


def _by_ids(session: Session, actor: Actor, text: str) -> str:
    """The URN with ids in the place of names. What is archived is found by its id alone."""
    try:
        return resolve.resolve_urn(session, actor, text)
    except NotFound:
        head, colon, rest = text.partition(":")
        return f"{actor.organization_id if head == actor.organization_name else head}{colon}{rest}"


def _by_actor(actor: Actor, wanted: str) -> ColumnElement[bool]:
    """By the name that the actor had then, or by id: an id finds what somebody did under earlier names too."""
    if re.fullmatch(r"[0-9a-f-]{36}", wanted):
        return AuditEntry.actor_urn.endswith(f":{wanted}")
    if ":" in wanted:
        return AuditEntry.actor_urn == wanted
    names = [wanted] if "." in wanted else [wanted, f"{actor.organization_name}.{wanted}"]
    return AuditEntry.actor.in_(names)


def _seq_of(cursor: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", cursor):
        raise InvalidRequest("that is no cursor of this list", "use the `next` of the page before")
    return int(cursor)
