"""Who is asking? A hub token, a role key, a job's own token, or the cookie that the gate gave this browser for this one host.

A *claim* is what came with a request and could be checked outside of the store; whose claim it is, the store says
(`Claim.stands_for`), in the same transaction in which the policy is asked.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import re
from collections import OrderedDict
from dataclasses import dataclass, field, replace

import aiohttp
from multidict import MultiMapping
from sqlalchemy.orm import Session

from toolkit_client.errors import ServiceUnavailable
from toolkit_hub import clock
from toolkit_hub.domain.access import Actor, actor_by_id, actor_by_key, actor_by_name
from toolkit_hub.domain.gate_sessions import session_user
from toolkit_hub.gate.headers import COOKIE_MARK, KEY_HEADER, cookie_values

__all__ = [
    "Claim",
    "HubAway",
    "HubTokens",
    "Identities",
    "TokenOwner",
    "bearer_token",
    "foreign",
    "is_own_token",
    "session_cookie",
]

log = logging.getLogger("toolkit.gate")

#: How long the hub's word on a token is taken for true: the longest that a deleted token still opens anything new.
TOKEN_CACHE_S = 5.0
HUB_TIMEOUT_S = 4.0
_CACHE_SIZE = 4096
#: Cookies of one name that are tried: more than one means that a page of the job has set a second.
_COOKIES_TRIED = 3
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{8,512}")
#: How role keys and jobs' own tokens begin, of which the hub knows nothing.
_OWN_TOKEN = re.compile(r"tk[rj]_")
_SESSION_KEY = re.compile(r"[A-Za-z0-9_-]{20,100}")


class HubAway(ServiceUnavailable):
    """The hub did not say whose token it is: unknown, which is neither good nor revoked."""


@dataclass(frozen=True)
class TokenOwner:
    """The hub's word on a token."""

    name: str
    scopes: frozenset[str]

    def reaches(self, owner: str, server_name: str | None) -> bool:
        """Whether the token's scopes open this server: one that may only read must not open a terminal."""
        wanted = {
            "access:servers",
            f"access:servers!user={owner}",
            "access:services",
            "access:services!service=toolkit",
        }
        if server_name is not None:
            wanted.add(f"access:servers!server={owner}/{server_name}")
        return not wanted.isdisjoint(self.scopes)


@dataclass(frozen=True)
class _HubAnswer:
    known: bool
    owner: TokenOwner | None


@dataclass(frozen=True)
class Claim:
    """A credential that came with a request: a token that the hub knows (`owner`), a session's key at `host`, or else a
    role's key or a job's own token, of which the store knows."""

    secret: str = field(repr=False)
    owner: TokenOwner | None = None
    host: str = ""

    @property
    def is_cookie(self) -> bool:
        return bool(self.host)

    def stands_for(self, session: Session, owner: str, server_name: str | None) -> Actor | None:
        """Whose claim this is, if it counts at the job of this owner with this server. Raises `DeadKey`."""
        if self.owner is not None:
            return actor_by_name(session, self.owner.name) if self.owner.reaches(owner, server_name) else None
        if not self.is_cookie:
            return actor_by_key(session, self.secret)
        user_id = session_user(session, self.secret, self.host)
        return actor_by_id(session, user_id) if user_id else None


class HubTokens:
    """Asks the hub whose a token is, and remembers the answer for `TOKEN_CACHE_S`; the tokens themselves are not kept."""

    def __init__(self, hub_url: str, client: aiohttp.ClientSession) -> None:
        self._url = f"{hub_url}/hub/api/user"
        self._client = client
        self._known: OrderedDict[str, tuple[float, _HubAnswer]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[_HubAnswer]] = {}

    async def owner(self, token: str) -> TokenOwner | None:
        """Whose token it is, or None for one that is no user's. Raises `HubAway`."""
        return (await self._answer(token)).owner

    async def knows(self, token: str) -> bool:
        """Whether the hub knows the token, be it a user's or a service's. Raises `HubAway`."""
        return (await self._answer(token)).known

    async def _answer(self, token: str) -> _HubAnswer:
        key = hashlib.sha256(token.encode()).hexdigest()
        known = self._known.get(key)
        if known and known[0] > clock.monotonic():
            return known[1]
        task = self._asking.get(key)
        if task is None:  # a page asks for twenty things at once: one question to the hub will do
            task = asyncio.create_task(self._ask(key, token))
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(task)

    async def _ask(self, key: str, token: str) -> _HubAnswer:
        asked = clock.monotonic()
        headers, timeout = {"Authorization": f"token {token}"}, aiohttp.ClientTimeout(total=HUB_TIMEOUT_S)
        try:
            async with self._client.get(self._url, headers=headers, timeout=timeout, allow_redirects=False) as reply:
                known = reply.status == 200
                answer = _HubAnswer(known, _token_owner(await reply.json()) if known else None)
                if reply.status not in (200, 401, 403, 404):
                    raise HubAway(*_hub_away(f"status {reply.status}"))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise HubAway(*_hub_away(type(error).__name__)) from error
        self._known[key] = (asked + TOKEN_CACHE_S, answer)
        self._known.move_to_end(key)
        while len(self._known) > _CACHE_SIZE:
            self._known.popitem(last=False)
        return answer


def _hub_away(why: str) -> tuple[str, str]:
    return f"the hub could not be asked whose token this is ({why})", "try again in a few seconds"


def _token_owner(model: object) -> TokenOwner | None:
    """The owner in the hub's answer; a service's token is nobody's here, even if a user has that service's name."""
    if not isinstance(model, dict) or model.get("kind") != "user" or not isinstance(model.get("name"), str):
        return None
    scopes = model.get("scopes")
    return TokenOwner(
        model["name"], frozenset(str(scope) for scope in scopes) if isinstance(scopes, list) else frozenset()
    )


class Identities:
    """Reads claims from requests and renews them for connections that live on."""

    def __init__(self, tokens: HubTokens, *, secure: bool) -> None:
        self._tokens = tokens
        self.cookie = session_cookie(secure)

    async def claims(self, headers: MultiMapping[str], host: str) -> list[Claim]:
        """What the request shows, in the order in which it counts. Raises `HubAway` when only the hub could tell.

        An ``Authorization`` that is no hub token may be meant for the app behind: beside a cookie it does no harm.
        """
        cookies = self.cookie_claims(headers, host)
        token = bearer_token(headers)
        if KEY_HEADER in headers:
            cookies = []  # who says whose key it is means that key
        if token is None:
            return cookies
        if is_own_token(token):
            return [Claim(token), *cookies]
        try:
            owner = await self._tokens.owner(token)
        except HubAway:
            if not cookies:
                raise
            return cookies
        return [Claim(token, owner), *cookies] if owner else cookies

    async def is_for_app(self, headers: MultiMapping[str]) -> bool:
        """Whether there is an ``Authorization`` without anything of ours in it, whatever its scheme: no hub token, no role's key,
        no job's own token. What cannot be told apart because the hub is away is taken for ours."""
        values = headers.getall("Authorization", ())
        for word in (word for value in values for word in _credentials(value)):
            if _OWN_TOKEN.search(word):
                return False
            try:
                if _TOKEN.fullmatch(word) and await self._tokens.knows(word):
                    return False
            except HubAway:
                return False
        return bool(values)

    def cookie_claims(self, headers: MultiMapping[str], host: str) -> list[Claim]:
        """Of a browser that is signed in at `host`; without a host there are none."""
        keys = [key for key in cookie_values(headers, self.cookie) if host and _SESSION_KEY.fullmatch(key)]
        return [Claim(key, host=host) for key in keys[:_COOKIES_TRIED]]

    async def renew(self, claim: Claim) -> Claim | None:
        """The claim as the hub sees it now; None once the token is revoked. Raises `HubAway`."""
        if claim.owner is None:
            return claim  # the store is asked at each look
        owner = await self._tokens.owner(claim.secret)
        return replace(claim, owner=owner) if owner else None


def session_cookie(secure: bool) -> str:
    """The cookie's name. With TLS a browser takes the prefix as an order: this host only, secure, path ``/``."""
    return f"__Host-{COOKIE_MARK}" if secure else COOKIE_MARK


def bearer_token(headers: MultiMapping[str]) -> str | None:
    """The token or key that a request shows, whatever its kind; None for what has the shape of none."""
    key = headers.get(KEY_HEADER)
    if key is None:
        scheme, _, key = headers.get("Authorization", "").partition(" ")
        if scheme.lower() not in ("token", "bearer"):
            return None
    return key.strip() if _TOKEN.fullmatch(key.strip()) else None


def _credentials(value: str) -> list[str]:
    """What in the value of an ``Authorization`` could be a token."""
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() == "basic":
        try:
            rest = base64.b64decode(rest.strip() + "==").decode("utf-8", "replace")
        except ValueError:
            return [rest]
        return [*rest.partition(":")[::2], rest]
    return [rest.strip() or scheme]


def is_own_token(token: str) -> bool:
    """Whether it is a role's key or a job's own token, by its looks."""
    return _OWN_TOKEN.match(token) is not None


def foreign(method: str, headers: MultiMapping[str], origin: str) -> bool:
    """Whether a request that a cookie would let in was made by a page of another origin.

    A browser adds the cookie to whatever any page makes it send. Let in is what the host's own pages send, and a
    person's following a link; what cannot be told apart is let in only if it is a plain read.
    """
    sent = headers.get("Origin")
    if sent is not None:
        return sent.lower() != origin
    if "Upgrade" in headers:
        return True  # browsers never open a websocket without saying from where
    safe = method in ("GET", "HEAD")
    site = headers.get("Sec-Fetch-Site")
    if site is None:
        referer = headers.get("Referer")
        return not safe or (referer is not None and not f"{referer}/".lower().startswith(f"{origin}/"))
    if site in ("same-origin", "none"):
        return False
    return not (
        safe and headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest", "") == "document"
    )
