"""Tokens of JupyterHub's own API: made by user name and password for signing in on the command line, and revoked."""

from __future__ import annotations

import platform
from urllib.parse import quote

import httpx

from toolkit_client.errors import InternalError, NotSignedIn, ToolkitError
from toolkit_client.exchange import Site, error_of

__all__ = ["TOKEN_LIFE", "new_token", "revoke_token"]

#: Seconds until the token ends: a working day.
TOKEN_LIFE = 12 * 3600


def new_token(url: str, username: str, password: str, *, note: str = "", seconds: int = TOKEN_LIFE) -> str:
    """Signs in at the hub of a site and gives a new token that ends after so many seconds.

    `note` says in the user's list of tokens what it is for.

    Raises:
        NotSignedIn: the hub refused name and password.
        ToolkitError: the hub does not answer, or not as a hub.
    """
    site = Site(url, "")
    request = {
        "auth": {"username": username, "password": password},
        "note": note or f"toolkit CLI on {platform.node()}",
        "expires_in": seconds,
    }
    with httpx.Client(**site.options(30.0, path="/hub/api")) as http:
        try:
            # Sent once: each attempt counts against the limits on wrong passwords.
            response = http.post(f"/users/{quote(username, safe='')}/tokens", json=request)
        except httpx.TransportError as problem:
            raise site.unreachable(problem) from problem
    if not response.is_success:
        raise _refusal(site, username, response)
    try:
        token = response.json()["token"]
    except (ValueError, KeyError, TypeError) as problem:
        raise InternalError(f"the hub at {url} gave no token", "check the address") from problem
    return str(token)


def revoke_token(url: str, token: str) -> bool:
    """Ends a token by itself; False if the hub did not know it any more.

    Raises:
        ToolkitError: the hub does not answer, or did not do it.
    """
    site = Site(url, token)
    with httpx.Client(**site.options(5.0, path="/hub/api")) as http:
        try:
            found = http.get("/user")
            if found.status_code in (401, 403):
                return False
            user = _user_of(site, found)
            response = http.delete(f"/users/{quote(user['name'], safe='')}/tokens/{quote(user['token_id'], safe='')}")
        except httpx.TransportError as problem:
            raise site.unreachable(problem) from problem
    if not response.is_success and response.status_code != httpx.codes.NOT_FOUND:
        raise error_of(site, response)
    return response.is_success


def _user_of(site: Site, response: httpx.Response) -> dict[str, str]:
    """The name of a token's user, and the token's id."""
    if not response.is_success:
        raise error_of(site, response)
    try:
        user = response.json()
        return {"name": str(user["name"]), "token_id": str(user["token_id"])}
    except (ValueError, KeyError, TypeError) as problem:
        raise InternalError(f"the hub at {site.url} did not say which token this is", "") from problem


def _refusal(site: Site, username: str, response: httpx.Response) -> ToolkitError:
    if response.status_code in (401, 403):
        return NotSignedIn(
            f"{site.url} refused the user name {username!r} with that password",
            "check both; after several wrong passwords wait a few minutes",
        )
    return error_of(site, response)
