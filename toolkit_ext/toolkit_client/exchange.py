"""What both transports do with an answer: read it, turn it into an error, or say how long to wait before trying again.

Nothing here sends anything: `Client` and `AsyncClient` differ only in how they send and sleep.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from toolkit_client.calls import API_PATH, Call
from toolkit_client.errors import InternalError, InvalidRequest, ServiceUnavailable, ToolkitError, error_from_body
from toolkit_client.profiles import checked_url, find_profile

__all__ = [
    "RETRY_PAUSES",
    "Attempts",
    "Site",
    "WaitPauses",
    "answer_of",
    "arguments",
    "error_of",
    "find_site",
]

#: Seconds before the second, third, … attempt at a request.
RETRY_PAUSES = (0.2, 0.5, 1.0, 2.0)
#: Statuses by which a proxy says that the service behind it is away for a moment.
AWAY = frozenset({502, 503, 504})
#: The longest wait, in seconds, that a `Retry-After` header may ask for.
LONGEST_PAUSE = 10.0
#: The longest pause, in seconds, between two looks at a job that is waited for.
LONGEST_LOOK = 2.0

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Site:
    """Where the service is and as whom to speak to it."""

    def __init__(self, url: str, token: str) -> None:
        """Raises InvalidRequest for an address or a token that cannot be one."""
        self.url = checked_url(url)
        if not token.isascii() or not token.isprintable():
            raise InvalidRequest("that is no token: it has characters that no token has", "look at TOOLKIT_TOKEN")
        self._token = token

    @property
    def token(self) -> str:
        return self._token

    @property
    def loopback(self) -> bool:
        return urlsplit(self.url).hostname in LOOPBACK

    def options(self, timeout: float, path: str = API_PATH) -> dict[str, Any]:
        """Keyword arguments for an httpx client.

        For a plain http address no certificates are loaded, which takes a third of a short command's time; for a
        loopback address the environment's HTTP proxies do not apply.
        """
        headers = {"User-Agent": "toolkit-client", "Accept-Encoding": "identity"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return {
            "base_url": self.url + path,
            "headers": headers,
            "timeout": httpx.Timeout(timeout, connect=5.0),
            "verify": self.url.startswith("https:"),
            "trust_env": not self.loopback,
            "follow_redirects": False,
        }

    def unreachable(self, problem: Exception) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"no answer from {self.url}: {str(problem) or type(problem).__name__}",
            "is `make run` running? The address comes from TOOLKIT_URL or the profile",
        )


def arguments(call: Call[Any]) -> dict[str, Any]:
    """Keyword arguments for `httpx.Client.request` and its likes."""
    headers = dict(call.headers)
    if call.idempotency_key:
        headers["Idempotency-Key"] = call.idempotency_key
    return {"method": call.method, "url": call.path, "params": call.params, "json": call.json, "headers": headers}


def answer_of(site: Site, response: httpx.Response) -> Any:
    """The decoded JSON of a response with status 2xx, None for an empty one.

    Raises:
        ToolkitError: any other status, or an answer that is no JSON.
    """
    if not response.is_success:
        raise error_of(site, response)
    if not response.content:
        return None
    try:
        return json.loads(response.content)
    except ValueError as problem:
        raise _foreign(site, response.status_code) from problem


def error_of(site: Site, response: httpx.Response) -> ToolkitError:
    """The error that a response, read to its end, stands for."""
    try:
        body = json.loads(response.content)
    except ValueError:
        body = None
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        return error_from_body(response.status_code, body)
    return _foreign(site, response.status_code)


def _foreign(site: Site, status: int) -> ToolkitError:
    """An answer that our service did not write: a proxy's, the hub's, or that of something else at this address."""
    if status in AWAY:
        return ServiceUnavailable(
            f"{site.url} answers, but the Toolkit service behind it does not (HTTP {status})",
            "it may be starting: try again in a few seconds, then look at the messages of `make run`",
        )
    if status >= 500:
        return InternalError(f"{site.url} failed with HTTP {status}", "the site's own messages say why")
    return ServiceUnavailable(
        f"{site.url} answers, but not as a Toolkit site (HTTP {status})",
        "check the address: it comes from TOOLKIT_URL or the profile",
    )


def find_site(url: str | None, token: str | None, profile: str | None) -> Site:
    """The site by what is given; what is not, by the environment and the profile."""
    if url is not None and token is not None:
        return Site(url, token)
    found = find_profile(profile, url=url)
    return Site(found.url, found.token if token is None else token)


class Attempts:
    """The attempts at one call: whether there is another one, and how long to wait before it."""

    def __init__(self, call: Call[Any], site: Site, pauses: tuple[float, ...] = RETRY_PAUSES) -> None:
        self._call = call
        self._site = site
        self._pauses = list(pauses)

    def after_answer(self, response: httpx.Response) -> float | None:
        """Seconds to wait before asking again, or None if this answer stands."""
        if response.status_code not in AWAY or not self._call.repeatable or not self._pauses:
            return None
        return max(self._next_pause(), _retry_after(response.headers))

    def after_failure(self, problem: httpx.TransportError) -> float:
        """Seconds to wait before asking again.

        A call that must not be sent twice is sent again only if no connection came about. One that was not answered in
        time is not sent again: its time-out was the wait.

        Raises:
            ServiceUnavailable: there is no further attempt.
        """
        never_sent = isinstance(problem, (httpx.ConnectError, httpx.ConnectTimeout))
        late = isinstance(problem, httpx.TimeoutException) and not never_sent
        if late or not self._pauses or not (never_sent or self._call.repeatable):
            raise self._site.unreachable(problem) from problem
        return self._next_pause()

    def _next_pause(self) -> float:
        return self._pauses.pop(0) * random.uniform(0.75, 1.25)


def _retry_after(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    return min(float(text), LONGEST_PAUSE) if text.isdecimal() else 0.0


class WaitPauses:
    """The pauses between looks at a job that is waited for: short at first, for short jobs."""

    def __init__(self, ref: str, timeout: float | None) -> None:
        self._ref = ref
        self._timeout = timeout
        self._started = time.monotonic()
        self._pause = 0.1

    def next(self) -> float:
        """Seconds to wait; raises TimeoutError when the time is over."""
        self._pause = min(self._pause * 1.5, LONGEST_LOOK)
        if self._timeout is None:
            return self._pause
        left = self._timeout - (time.monotonic() - self._started)
        if left <= 0:
            raise TimeoutError(f"job {self._ref} lives on after {self._timeout:g} seconds")
        return min(self._pause, left)
