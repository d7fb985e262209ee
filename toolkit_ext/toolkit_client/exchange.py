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

from toolkit_client.calls import API_PATH, LOG_START_HEADER, RUN_HEADER, Call, get_job, read_logs
from toolkit_client.errors import InternalError, InvalidRequest, ServiceUnavailable, ToolkitError, error_from_body
from toolkit_client.profiles import checked_url, find_profile

__all__ = [
    "RETRY_PAUSES",
    "Attempts",
    "LogTrail",
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
#: Seconds for which a followed log may be out of reach before the client gives up: longer than a restart takes.
FOLLOW_PATIENCE = 120.0
#: A followed log that is silent for so many seconds is asked for again, for the connection may be dead without a sign.
SILENCE = 30.0

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
    headers = {"Idempotency-Key": call.idempotency_key} if call.idempotency_key else None
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


class LogTrail:
    """How far a log has been read, over as many connections as it takes.

    The end of a connection does not mean the end of the log: a service that restarts, or a proxy before it, may end it
    as cleanly as the job's own end would. So the job's state decides, and after the job has ended the log is asked for
    once more from where it stopped, until nothing is left. A job that was started anew has a new log: it is read from its
    first byte.
    """

    def __init__(self, site: Site, ref: str, *, follow: bool, tail: int | None, offset: int | None) -> None:
        self.call: Call[bytes] = read_logs(ref, follow=follow, tail=tail, offset=offset)
        self.job_call = get_job(ref)
        self.follow = follow
        self._site = site
        self._ref = ref
        self._position = offset if offset is not None else None if tail is not None else 0
        self._received = 0
        self._run = ""
        self._other_run = False
        self._answered = False
        self._failures = 0
        # Until the first answer the address may be wrong, and whoever asks wants to know soon.
        self._known_good = False
        self._out_of_reach = 0.0

    @property
    def patience(self) -> float | None:
        """Seconds of silence after which to ask again; None where reading could not go on from the same byte."""
        return SILENCE if self._position is not None else None

    @property
    def complete(self) -> bool:
        """Whether the connection that ended was the last one, whatever the job's state."""
        return not self.follow and not self._other_run

    def opened(self, headers: Mapping[str, str]) -> bool:
        """A connection was answered; False if what comes must be thrown away, being from the middle of another log.

        The bytes to come start where the answer says, or where it was asked to start.
        """
        self._received, self._answered, self._known_good = 0, True, True
        start, run = headers.get(LOG_START_HEADER, ""), headers.get(RUN_HEADER, "")
        self._other_run = bool(self._run) and run != self._run and self._position != 0
        self._run = run
        if self._other_run:
            self._position = 0
        elif start.isdecimal():
            self._position = int(start)
        return not self._other_run

    def received(self, count: int) -> None:
        self._received += count
        if self._position is not None:
            self._position += count
        self._failures, self._out_of_reach = 0, 0.0

    def after_failure(self, problem: httpx.TransportError | ServiceUnavailable) -> float:
        """Seconds to wait before going on from the same byte.

        Raises:
            ServiceUnavailable: it has lasted too long, or where the log was cut is not known.
        """
        if isinstance(problem, httpx.ReadTimeout) and self.follow and self._answered:
            # A job that says nothing is no failure; the connection may be dead without a sign, though.
            self._failures, self._out_of_reach = 0, 0.0
            return self._resume_after(0.0)
        error = problem if isinstance(problem, ServiceUnavailable) else self._site.unreachable(problem)
        self._failures += 1
        self._out_of_reach += SILENCE if isinstance(problem, httpx.ReadTimeout) else 0.0
        if self.follow and self._known_good:
            patience_left = self._out_of_reach < FOLLOW_PATIENCE
        else:
            patience_left = self._failures <= len(RETRY_PAUSES)
        if not patience_left or (self._position is None and self._received):
            raise error
        pause = RETRY_PAUSES[min(self._failures, len(RETRY_PAUSES)) - 1]
        self._out_of_reach += pause
        return self._resume_after(pause)

    def after_end(self, alive: bool) -> float | None:
        """Seconds to wait before going on, or None when the whole log has been read.

        Raises:
            ServiceUnavailable: the job goes on, but where its log was cut is not known.
        """
        if self._other_run:
            return self._resume_after(0.0)
        if not self._received and not alive:
            return None
        if self._position is None and self._received:
            if alive:
                raise ServiceUnavailable("the service ended the log before the job's end", "ask again without a tail")
            return None
        return self._resume_after(0.5 if alive else 0.0)

    def _resume_after(self, pause: float) -> float:
        if self._position is not None:
            self.call = read_logs(self._ref, follow=self.follow, offset=self._position)
        self._answered = False
        return pause
