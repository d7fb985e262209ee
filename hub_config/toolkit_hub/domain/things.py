"""What a person means who types an id, a full name or a URN and does not say of which type: for the pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher

from sqlalchemy.orm import Session

from toolkit_client.errors import InvalidRequest, NotFound
from toolkit_hub.domain import accounts, data, jobs, organizations, resolve, roles, teams, users
from toolkit_hub.domain.access import Actor, Hidden, authorise

__all__ = ["Thing", "find_things"]

LONGEST = 1200


@dataclass(frozen=True)
class Thing:
    """A resource that somebody may see."""

    type: str
    id: str
    urn: str
    name: str


def find_things(session: Session, actor: Actor, text: str) -> list[Thing]:
    """Everything that `text` may mean and that the actor may see: a user and their home account have the same full name.

    Raises `NotFound` when there is nothing, `InvalidRequest` for what cannot be a name, an id or a URN of one thing.
    """
    text = text.strip()
    if not text or len(text) > LONGEST:
        raise InvalidRequest("type an id, a full name or a URN", "as acme.joe, or acme:account:acme.joe:role:ID")
    if "*" in text:
        raise InvalidRequest("a * stands for many things", "ask about one of them: its id, full name or URN")
    if ":" in text:
        urn = resolve.resolve_urn(session, actor, text)
        parts = urn.split(":")
        type_ = parts[-2] if len(parts) > 1 else "organization"
        return [_get(session, actor, type_, parts[-1])]
    found: list[Thing] = []
    errors: list[NotFound] = []
    for type_ in _FINDERS:
        try:
            found.append(_get(session, actor, type_, text))
        except NotFound as error:
            errors.append(error)
    if not found:
        raise _nothing(text, errors)
    return found


def _nothing(text: str, errors: list[NotFound]) -> NotFound:
    """One error for all types. What is there and hidden reads like the rest, and is told to the audit log alone."""
    message, hint = f"nothing is called {text[:80]!r}, or you may not see it", _best_hint(text, errors)
    for error in errors:
        if isinstance(error, Hidden):
            return Hidden(message, hint, error.action, error.urn, error.reason)
    return NotFound(message, hint)


def _best_hint(text: str, errors: list[NotFound]) -> str:
    """Of what was guessed for each type, that which is most like the text."""
    guesses = [found.group(1) for error in errors if (found := re.search(r"did you mean (\S+)\?", error.hint))]
    if not guesses:
        return "full names begin with the organization, as acme.joe; ids and URNs are found too"
    best = max(guesses, key=lambda guess: SequenceMatcher(a=text, b=guess).ratio())
    return f"did you mean {best}? You may also lack the right to see it"


def _get(session: Session, actor: Actor, type_: str, reference: str) -> Thing:
    if type_ not in _FINDERS:
        raise NotFound(f"there is no type {type_[:20]!r}", f"the types are: {', '.join(_FINDERS)}")
    return _FINDERS[type_](session, actor, reference)


def _organization(session: Session, actor: Actor, reference: str) -> Thing:
    found = organizations.get_organization(session, actor, reference)
    return Thing("organization", found.id, found.urn, found.name)


def _account(session: Session, actor: Actor, reference: str) -> Thing:
    found = accounts.get_account(session, actor, reference)
    return Thing("account", found.id, found.urn, found.full_name)


def _user(session: Session, actor: Actor, reference: str) -> Thing:
    found = users.get_user(session, actor, reference)
    return Thing("user", found.id, found.urn, found.full_name)


def _team(session: Session, actor: Actor, reference: str) -> Thing:
    found = teams.get_team(session, actor, reference)
    return Thing("team", found.id, found.urn, found.full_name)


def _role(session: Session, actor: Actor, reference: str) -> Thing:
    found = roles.get_role(session, actor, reference)
    return Thing("role", found.id, found.urn, found.full_name)


def _data(session: Session, actor: Actor, reference: str) -> Thing:
    found = data.get_data(session, actor, reference)
    return Thing("data", found.id, found.urn, found.full_name)


def _job(session: Session, actor: Actor, reference: str) -> Thing:
    found = jobs.find_job(session, actor, reference)
    authorise(session, actor, "job:get", found.urn)
    return Thing("job", found.id, found.urn, found.name or found.id)


#: In the order in which people ask.
_FINDERS: dict[str, Callable[[Session, Actor, str], Thing]] = {
    "account": _account,
    "user": _user,
    "team": _team,
    "role": _role,
    "data": _data,
    "job": _job,
    "organization": _organization,
}
