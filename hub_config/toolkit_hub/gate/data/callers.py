"""Who asks at the data host: a hub token, a role key, a job's own token, or a ticket of our own page. Never a cookie.

So no page of anybody can act here as its visitor: what a browser adds by itself proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from toolkit_client.errors import NotSignedIn
from toolkit_hub.domain.access import Actor, actor_by_id, actor_by_key, actor_by_name
from toolkit_hub.domain.data_tickets import TICKET_PREFIX, Ticket, read_ticket
from toolkit_hub.gate.identity import HubTokens, TokenOwner, is_own_token

__all__ = ["Caller", "Callers"]

#: A hub token has to reach the service of the toolkit; one that may only read a server is nobody's here.
_SCOPES = frozenset({"access:services", "access:services!service=toolkit"})


@dataclass(frozen=True)
class Caller:
    """What came with a request, and was good then. Whose it is, the store says (`actor`), as often as it is asked."""

    actor: Callable[[Session], Actor] = field(repr=False)
    #: The one data that a ticket is for.
    only_data: str | None = None
    token: str = field(default="", repr=False)


class Callers:
    """Finds out who asks."""

    def __init__(self, tokens: HubTokens, ticket_secret: str) -> None:
        self._tokens = tokens
        self._ticket_secret = ticket_secret

    async def find(self, token: str | None, request_id: str, address: str) -> Caller:
        """Raises `NotSignedIn`; `HubAway` when only the hub could tell."""
        if token is None:
            raise NotSignedIn("nobody is signed in with this request", "send the header `Authorization: Bearer …`")
        if token.startswith(TICKET_PREFIX):
            ticket = read_ticket(self._ticket_secret, token)
            if ticket is None:
                raise NotSignedIn("this page was open for too long", "load it again")
            return Caller(_by_ticket(ticket, request_id, address), ticket.data_id, token)
        if is_own_token(token):
            return Caller(_by_key(token, request_id, address), None, token)
        owner = await self._tokens.owner(token)
        if owner is None or not _SCOPES & owner.scopes:
            raise _ended()
        return Caller(_by_owner(owner, request_id, address), None, token)

    async def still(self, caller: Caller) -> None:
        """Raises `NotSignedIn` when the hub does not know the token any more; of the others the store knows."""
        if not caller.token.startswith(TICKET_PREFIX) and not is_own_token(caller.token):
            owner = await self._tokens.owner(caller.token)
            if owner is None or not _SCOPES & owner.scopes:
                raise _ended()


def _ended() -> NotSignedIn:
    return NotSignedIn("this token is not known to the hub, or does not reach the toolkit", "sign in: `toolkit login`")


def _by_ticket(ticket: Ticket, request_id: str, address: str) -> Callable[[Session], Actor]:
    return lambda session: _somebody(actor_by_id(session, ticket.user_id, request_id, address))


def _by_key(token: str, request_id: str, address: str) -> Callable[[Session], Actor]:
    return lambda session: _somebody(actor_by_key(session, token, request_id, address))


def _by_owner(owner: TokenOwner, request_id: str, address: str) -> Callable[[Session], Actor]:
    return lambda session: _somebody(actor_by_name(session, owner.name, request_id, address))


def _somebody(actor: Actor | None) -> Actor:
    if actor is None:
        raise _ended()
    return actor
