"""A browser that comes with the address of a visit (`toolkit_hub.domain.visits`): it is signed in at this host, and sent on.

The code in the address is tied to no browser, so whoever made it could lead somebody else here, who would then be them. A browser
is therefore let in without a word only when its user opened the address themselves, and is nobody else here yet. Otherwise a page
asks, and its answer is a form that only this host's own page can post.
"""

from __future__ import annotations

from aiohttp import web
from sqlalchemy.orm import Session
from yarl import URL

from toolkit_client.errors import PermissionDenied
from toolkit_hub.domain.access import actor_by_id
from toolkit_hub.domain.gate_sessions import ANY_BROWSER, create_session, session_user, take_code, visitor_of_code
from toolkit_hub.domain.visits import VISIT_PATH
from toolkit_hub.gate.identity import Claim, Identities, foreign
from toolkit_hub.gate.login import Logins
from toolkit_hub.gate.pages import Form, is_navigation, page, redirect
from toolkit_hub.gate.places import JobHost
from toolkit_hub.gate.visit import Visit
from toolkit_hub.store import Store

__all__ = ["Visits"]

_LONGEST_FORM = 16 * 1024


class Visits:
    """The gate's half of visits."""

    def __init__(self, store: Store, logins: Logins, identities: Identities) -> None:
        self._store = store
        self._logins = logins
        self._identities = identities

    async def arrive(self, visit: Visit, host: JobHost, target: str) -> web.Response:
        """Let the browser in, or ask its user. Raises `PermissionDenied` for a code that is not good, and what is no browser."""
        request = visit.request
        if request.method == "POST":
            return await self._confirmed(visit, host)
        if not is_navigation(request) or _is_prefetch(request):
            raise PermissionDenied("this address is for a browser, opened by a person", "")
        query = URL(target, encoded=True).query
        code, goal = query.get("code", ""), query.get("next", "")
        claims = self._identities.cookie_claims(request.headers, host.name)
        visitor, here = await self._store.read(_who, code, host, claims)
        if visitor is None:
            raise _spent(host)
        if here is not None and here != visitor:
            return _ask(code, goal, f"You are signed in at this job as {here}.", visitor)
        if request.headers.get("Sec-Fetch-Site") != "none":  # also what is sent on from a typed address has that
            return _ask(code, goal, "A link or another page has led you here.", visitor)
        return await self._enter(visit, host, code, goal)

    async def _confirmed(self, visit: Visit, host: JobHost) -> web.Response:
        request = visit.request
        if request.headers.get("Origin", "").lower() != host.origin or foreign("POST", request.headers, host.origin):
            raise PermissionDenied("a page of another origin sent this form; it was refused", f"open {host.origin}/")
        if (request.content_length or _LONGEST_FORM + 1) > _LONGEST_FORM:
            raise PermissionDenied("this form is none of the gate's", f"open {host.origin}/")
        fields = await request.post()
        return await self._enter(visit, host, str(fields.get("code", "")), str(fields.get("next", "")))

    async def _enter(self, visit: Visit, host: JobHost, code: str, goal: str) -> web.Response:
        if not goal.startswith("/") or not goal.isascii() or not goal.isprintable() or " " in goal:
            goal = "/"
        key = await self._store.write(_take, code, host)
        if key is None:
            raise _spent(host)
        response = redirect(f"{host.origin}{goal}")
        if visit.request.method == "POST":
            response.set_status(303)
        self._logins.remember(response, key)
        return response


def _who(session: Session, code: str, host: JobHost, claims: list[Claim]) -> tuple[str | None, str | None]:
    """Full names of whom the code lets in, and of who is signed in here already."""
    visitor_id = visitor_of_code(session, code, host.name, ANY_BROWSER)
    visitor = actor_by_id(session, visitor_id) if visitor_id else None
    users = (session_user(session, claim.secret, claim.host) for claim in claims)
    here = next((actor for user_id in users if user_id and (actor := actor_by_id(session, user_id))), None)
    return visitor.full_name if visitor else None, here.full_name if here else None


def _take(session: Session, code: str, host: JobHost) -> str | None:
    """The key of a new session for a code that is good, in the transaction that uses the code up."""
    taken = take_code(session, code, host.name, ANY_BROWSER)
    if taken is None or taken[1] != host.job_id:
        return None
    return create_session(session, user_id=taken[0], job_id=taken[1], host=host.name)


def _ask(code: str, goal: str, why: str, visitor: str) -> web.Response:
    return page(
        f"Go on as {visitor}?",
        f"{why} The address that you have opened signs this browser in at this job as {visitor}.",
        "If it was not you who made it with `toolkit app`, close this page: what you did here would be done by somebody else.",
        form=Form(VISIT_PATH, f"Go on as {visitor}", {"code": code, "next": goal}),
    )


def _spent(host: JobHost) -> PermissionDenied:
    return PermissionDenied(
        "this address has been used before, or is older than 30 seconds", f"open {host.origin}/, and sign in there"
    )


def _is_prefetch(request: web.BaseRequest) -> bool:
    """A browser, or a program that shows what is behind a link, that only looks ahead: the code must be left for its user."""
    return any("prefetch" in request.headers.get(name, "").lower() for name in ("Sec-Purpose", "Purpose", "X-Moz"))
