"""Log-in of a browser at one job host.

::

    browser → gate      no session: a state cookie, and off to the service
    browser → service   which knows the user by the hub's OAuth, and makes a code for this host and this state
    browser → gate      /.toolkit/enter: the code is used up, the session's cookie is set for this host alone

The state ties the code to the browser that asked for it: nobody can be signed in as somebody else by a link.
"""

from __future__ import annotations

import re
import secrets
from urllib.parse import quote

from aiohttp import web
from sqlalchemy.orm import Session
from yarl import URL

from toolkit_client.errors import PermissionDenied
from toolkit_hub.domain.gate_sessions import SESSION_LIFE, create_session, end_session, take_code
from toolkit_hub.gate.headers import cookie_values
from toolkit_hub.gate.identity import Claim, session_cookie
from toolkit_hub.gate.pages import Link, page, redirect, wants_html
from toolkit_hub.gate.places import JobHost
from toolkit_hub.store import Store

__all__ = ["ENTER_PATH", "GATE_PATH", "LOGOUT_PATH", "Logins"]

#: What is below this on a job host is the gate's and never reaches the job.
GATE_PATH = "/.toolkit/"
ENTER_PATH = f"{GATE_PATH}enter"
LOGOUT_PATH = f"{GATE_PATH}logout"

_STATE = re.compile(r"[A-Za-z0-9_-]{22,64}")
_STATE_LIFE_S = 600
#: Longer addresses are not carried through the log-in; the visitor lands at the start page instead.
_LONGEST_ADDRESS = 4000


class Logins:
    """The gate's half of the log-in, and its end."""

    def __init__(self, store: Store, public_url: str, *, secure: bool) -> None:
        self._store = store
        self._enter_url = f"{public_url}/services/toolkit/enter"
        self._secure = secure
        self._cookie = session_cookie(secure)
        self._state_cookie = session_cookie(secure) + "-state"

    def start(self, request: web.BaseRequest, host: JobHost, target: str) -> web.Response:
        """Send the browser to the service; it comes back to `ENTER_PATH`."""
        # A state that is under way is kept, so that tabs that are opened at once do not spoil each other's log-in.
        known = [state for state in cookie_values(request.headers, self._state_cookie) if _STATE.fullmatch(state)]
        state = known[0] if known else secrets.token_urlsafe(24)
        address = f"{host.origin}{target}"
        if len(address) > _LONGEST_ADDRESS:
            address = f"{host.origin}/"
        response = redirect(f"{self._enter_url}?state={state}&next={quote(address, safe='')}")
        self._set_cookie(response, self._state_cookie, state, _STATE_LIFE_S)
        return response

    async def finish(self, request: web.BaseRequest, host: JobHost, target: str) -> web.Response:
        """Take the code and let the browser in. Raises `PermissionDenied` for a code that is not good."""
        query = URL(target, encoded=True).query
        address = query.get("next", "")
        entered = None
        if address.startswith(f"{host.origin}/"):
            states = cookie_values(request.headers, self._state_cookie)[:1]
            entered = await self._store.write(_enter, query.get("code", ""), host, states[0] if states else "")
        if entered is None:
            raise PermissionDenied(
                "this log-in link has been used before, is older than 30 seconds, or was made for another browser",
                f"open {host.origin}/ again; the browser must accept its cookies",
            )
        response = redirect(address)
        self.remember(response, entered)
        self._set_cookie(response, self._state_cookie, "", 0)
        return response

    async def end(self, request: web.BaseRequest, host: JobHost, claims: list[Claim]) -> web.Response:
        """End the sessions whose cookies the request shows."""
        for claim in claims:
            await self._store.write(end_session, claim.secret, host.name)
        if wants_html(request):
            response = page(
                "Signed out", "You are signed out of this job.", link=Link(f"{host.origin}/", "Sign in again")
            )
        else:
            response = web.Response(status=204, headers={"Cache-Control": "no-store", "Server": "toolkit"})
        self._set_cookie(response, self._cookie, "", 0)
        return response

    def remember(self, response: web.Response, key: str) -> None:
        """Give the browser the key of its session."""
        self._set_cookie(response, self._cookie, key, int(SESSION_LIFE.total_seconds()))

    def _set_cookie(self, response: web.Response, name: str, value: str, max_age: int) -> None:
        response.set_cookie(
            name, value, max_age=max_age, path="/", secure=self._secure or None, httponly=True, samesite="Lax"
        )


def _enter(session: Session, code: str, host: JobHost, state: str) -> str | None:
    """The key of a new session for a code that is good, in the transaction that uses the code up."""
    taken = take_code(session, code, host.name, state) if _STATE.fullmatch(state) else None
    if taken is None:
        return None
    user_id, job_id = taken
    return create_session(session, user_id=user_id, job_id=job_id, host=host.name) if job_id == host.job_id else None
