"""Streams that are followed across lost connections and restarts of the service: a job's log, and events.

A trail knows how far the stream has been read and how to ask for the rest; it sends nothing itself. `Client` and
`AsyncClient` send its `call`, hand it what comes, and ask it how to go on when the connection has ended.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import httpx

from toolkit_client.calls import Call, get_job, read_events
from toolkit_client.errors import InternalError, ServiceUnavailable
from toolkit_client.exchange import RETRY_PAUSES, Site

__all__ = ["SILENCE", "EventTrail", "Notice", "Trail"]

#: Seconds for which a followed stream may be out of reach before the client gives up: longer than a restart takes.
FOLLOW_PATIENCE = 120.0
#: A followed stream that is silent for so many seconds is asked for again: the connection may be dead without a sign.
SILENCE = 30.0
#: Seconds out of reach after which whoever follows is told.
NOTICE_AFTER = 2.0
#: Bytes that one event may have.
LARGEST_EVENT = 1024 * 1024

#: Is told, in words for people, that a stream is out of reach, and that it is back.
Notice = Callable[[str], None]
ItemT = TypeVar("ItemT")


class Trail(Generic[ItemT]):
    """How far a stream has been read, over as many connections as it takes."""

    #: What is asked next.
    call: Call[bytes]
    #: Tells whether there may be more after a connection has ended; None where there always may be.
    job_call: Call[Any] | None = None

    def __init__(self, site: Site, notice: Notice | None) -> None:
        self._site = site
        self._notice = notice
        self._failures = 0
        self._out_of_reach = 0.0
        self._lost_at: float | None = None
        self._told = False
        self._answered = False
        # Until the first answer the address may be wrong, and whoever asks wants to know soon.
        self._known_good = False

    @property
    def patience(self) -> float | None:
        """Seconds of silence after which to ask again; None to wait for ever."""
        return SILENCE

    @property
    def complete(self) -> bool:
        """Whether the connection that ended was the last one, whatever the job's state."""
        return False

    def opened(self, headers: Mapping[str, str]) -> bool:
        """A connection was answered; False if what comes must be thrown away."""
        self._answered, self._known_good = True, True
        if self._told and self._notice is not None and self._lost_at is not None:
            self._notice(f"back after {time.monotonic() - self._lost_at:.0f} s")
        self._lost_at, self._told = None, False
        return True

    def received(self, chunk: bytes) -> Iterable[ItemT]:
        """What the next bytes complete."""
        raise NotImplementedError

    def may_go_on(self, job: Mapping[str, Any]) -> bool:
        """Whether there may be more, by the job as it is now (plain JSON)."""
        return bool(job["alive"])

    def after_end(self, alive: bool) -> float | None:
        """Seconds to wait before going on, or None when all has been read. `alive`: there may be more."""
        raise NotImplementedError

    def after_failure(self, problem: httpx.TransportError | ServiceUnavailable) -> float:
        """Seconds to wait before going on from the same place.

        Raises:
            ServiceUnavailable: it has lasted too long, or going on is not possible.
        """
        if isinstance(problem, httpx.ReadTimeout) and self._lasting and self._answered:
            # A stream that says nothing is no failure; the connection may be dead without a sign, though.
            self._failures, self._out_of_reach = 0, 0.0
            self._resume()
            return 0.0
        error = problem if isinstance(problem, ServiceUnavailable) else self._site.unreachable(problem)
        self._failures += 1
        self._out_of_reach += SILENCE if isinstance(problem, httpx.ReadTimeout) else 0.0
        if self._lasting and self._known_good:
            patience_left = self._out_of_reach < FOLLOW_PATIENCE
        else:
            patience_left = self._failures <= len(RETRY_PAUSES)
        if not patience_left or not self._resumable:
            raise error
        pause = RETRY_PAUSES[min(self._failures, len(RETRY_PAUSES)) - 1]
        self._out_of_reach += pause
        self._tell_of_wait(error, pause)
        self._resume()
        return pause

    @property
    def _lasting(self) -> bool:
        """Whether the stream is followed: then a long outage is waited for."""
        return True

    @property
    def _resumable(self) -> bool:
        return True

    def _resume(self) -> None:
        self._answered = False

    def _in_reach(self) -> None:
        self._failures, self._out_of_reach = 0, 0.0

    def _tell_of_wait(self, error: ServiceUnavailable, pause: float) -> None:
        now = time.monotonic()
        self._lost_at = now if self._lost_at is None else self._lost_at
        if self._notice is not None and not self._told and self._known_good:
            if now + pause < self._lost_at + NOTICE_AFTER:
                return
            self._told = True
            self._notice(f"{error.message}; waiting for it")


class EventTrail(Trail[dict[str, Any]]):
    """Events as plain JSON, each once: of one job until it has ended, or of everything, without end.

    The stream is of server-sent events (WHATWG HTML, 9.2); the number of the last one tells the service where to go on.
    """

    def __init__(self, site: Site, ref: str | None, *, after: int | None, notice: Notice | None = None) -> None:
        super().__init__(site, notice)
        self.call = read_events(ref, after)
        self.job_call = None if ref is None else get_job(ref)
        self._ref = ref
        self._last = after
        self._rest = b""
        self._data: list[bytes] = []
        self._received = 0

    def opened(self, headers: Mapping[str, str]) -> bool:
        self._rest, self._data, self._received = b"", [], 0
        return super().opened(headers)

    def received(self, chunk: bytes) -> Iterable[dict[str, Any]]:
        """The events that are complete now.

        Raises:
            InternalError: what comes is no stream of events.
        """
        self._in_reach()
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) + sum(map(len, self._data)) > LARGEST_EVENT:
            raise InternalError("an event of the service has no end", "ask whoever runs the site")
        return [event for line in lines if (event := self._line(line.removesuffix(b"\r"))) is not None]

    def _line(self, line: bytes) -> dict[str, Any] | None:
        """One line of the stream; the event that it completes. Comments and other fields are passed over."""
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        if line or not self._data:
            return None
        text, self._data = b"\n".join(self._data), []
        try:
            event: dict[str, Any] = json.loads(text)
            self._last = int(event["seq"])
        except (ValueError, KeyError, TypeError) as problem:
            raise InternalError("the service sent an event that cannot be read", "is this client too old?") from problem
        self._received += 1
        return event

    def after_end(self, alive: bool) -> float | None:
        if self._ref is not None and not alive and not self._received:
            return None
        self._resume()
        return 0.5 if alive else 0.0

    def _resume(self) -> None:
        super()._resume()
        self.call = read_events(self._ref, self._last)
