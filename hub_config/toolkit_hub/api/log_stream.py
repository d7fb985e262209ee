"""A run's output over HTTP, as it is written.

Positions count the bytes of the whole output, also of what is no longer kept. An answer says in its headers which run it is
about, where its first byte stands, and how far the output went when it began. With `gap=end` its bytes follow each other
without a gap, so that a client which counts them can go on from where a connection broke; otherwise a line stands for what is
not kept.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session
from tornado.iostream import StreamClosedError

from toolkit_client.calls import (
    LOG_END_HEADER,
    LOG_START_HEADER,
    RUN_HEADER,
    RUN_INDEX_HEADER,
    gap_notice,
)
from toolkit_client.errors import InvalidRequest, NotFound, NotSignedIn
from toolkit_client.models import JobState
from toolkit_hub import clock
from toolkit_hub.api.routing import Call, Parameter
from toolkit_hub.domain import jobs
from toolkit_hub.domain.access import Actor, authorise
from toolkit_hub.domain.retention import check_log_kept
from toolkit_hub.domain.run_logs import RunLog
from toolkit_hub.store.tables import Run

__all__ = ["LOG_PARAMETERS", "stream_job_log"]

CHUNK = 256 * 1024
#: Seconds between two looks at a growing log: short after output or a change of state, longer in a silence.
SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.02, 0.25
#: Seconds after which a silence is one.
LIVELY_S = 3.0
#: Seconds after which a follower is asked again who he is.
IDENTIFY_EVERY_S = 15.0
#: The greatest position that can be asked for, and the greatest number of lines.
LAST_POSITION, MOST_LINES = 10**15 - 1, 10**9
#: The greatest index of a run that can be asked for.
MOST_RUNS = 10**6

LOG_PARAMETERS = (
    Parameter("follow", "go on until the run has ended", {"type": "boolean"}),
    Parameter(
        "tail", "only the last N lines of what is there", {"type": "integer", "minimum": 0, "maximum": MOST_LINES}
    ),
    Parameter(
        "since",
        "only what was written from this time on, to the second as a rule",
        {"type": "string", "format": "date-time"},
    ),
    Parameter(
        "offset", "start at this byte of the whole output", {"type": "integer", "minimum": 0, "maximum": LAST_POSITION}
    ),
    Parameter("run", "index of a run; default: the newest", {"type": "integer", "minimum": 0, "maximum": MOST_RUNS}),
    Parameter(
        "gap",
        "where output is not kept: `say` so in a line and go on, or `end` the answer; one that is asked for with an offset in "
        "the gap begins behind it, as its X-Toolkit-Log-Start tells",
        {"type": "string", "enum": ["say", "end"], "default": "say"},
    ),
)


@dataclass(frozen=True)
class _RunNow:
    """What the row says. `open`: there may be more output than there is."""

    run_id: str
    index: int
    open: bool


async def stream_job_log(call: Call) -> None:
    """Send what is there, and with `follow` what comes, until the run has ended."""
    context, reference = call.context, call.path_arguments["job"]
    wanted = _Wanted.of(call)
    run = await context.store.read(_find_run, call.actor, reference, wanted.run)
    log = RunLog(context.places.runs_dir / run.run_id)
    try:
        start, end = await asyncio.to_thread(_bounds, log, wanted)
        for name, value in (
            ("Content-Type", "application/octet-stream"),
            (RUN_HEADER, run.run_id),
            (RUN_INDEX_HEADER, str(run.index)),
            (LOG_START_HEADER, str(start)),
            (LOG_END_HEADER, str(end)),
        ):
            call.handler.set_header(name, value)
        stream = _Stream(call, log, start, wanted.ends_at_gaps)
        with suppress(StreamClosedError, NotSignedIn, _Gap):
            await call.handler.flush()
            if wanted.follow:
                await _follow(call, stream, run)
            else:
                await stream.send_all(end)
    finally:
        await asyncio.to_thread(log.close)


async def _follow(call: Call, stream: _Stream, run: _RunNow) -> None:
    store, reference = call.context.store, call.path_arguments["job"]
    with store.watch() as changed:
        actor, identified, lively = call.actor, clock.monotonic(), clock.monotonic()
        run = await store.read(_find_run, actor, reference, run.index)
        while not call.handler.disconnected:
            # A right or a token that is taken away ends the stream.
            now = clock.monotonic()
            if now - identified >= IDENTIFY_EVERY_S:
                actor, identified = await call.handler.identify_again(), now
            if changed.is_set():
                changed.clear()
                lively = now
                run = await store.read(_find_run, actor, reference, run.index)
            if await stream.send_all():
                lively = clock.monotonic()
                continue
            if not run.open:
                return
            with suppress(TimeoutError):
                wait = SHORTEST_WAIT_S if now - lively < LIVELY_S else LONGEST_WAIT_S
                await asyncio.wait_for(changed.wait(), wait)


@dataclass(frozen=True)
class _Wanted:
    """What the request asks for."""

    follow: bool
    tail: int | None
    since: datetime | None
    offset: int
    run: int | None
    ends_at_gaps: bool

    @classmethod
    def of(cls, call: Call) -> _Wanted:
        gap = call.query("gap") or "say"
        if gap not in ("say", "end"):
            raise InvalidRequest(f"gap is say or end, not {gap[:20]!r}", "")
        return cls(
            follow=call.flag("follow"),
            tail=call.number("tail", None, 0, MOST_LINES),
            since=_time(call.query("since")),
            offset=call.number("offset", 0, 0, LAST_POSITION) or 0,
            run=call.number("run", None, 0, MOST_RUNS),
            ends_at_gaps=gap == "end",
        )


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"since is a time as 2026-01-31T12:00:00Z, not {text[:40]!r}", "") from None


def _find_run(session: Session, actor: Actor, reference: str, index: int | None) -> _RunNow:
    """The run that is meant; the newest without an index. Raises `NotFound` for one that is not there, `Gone` for one whose log
    was removed."""
    job = jobs.find_job(session, actor, reference)
    authorise(session, actor, "job:get", job.urn)
    run: Run | None = job.runs[-1]
    if index is not None:
        run = next((run for run in job.runs if run.index == index), None)
    if run is None:
        known = f"its runs are 0 to {len(job.runs) - 1}" if len(job.runs) > 1 else "it has run 0 only"
        raise NotFound(f"job {job.id} has no run {index}", known)
    check_log_kept(run)
    return _RunNow(run.id, run.index, JobState(run.state).alive)


def _bounds(log: RunLog, wanted: _Wanted) -> tuple[int, int]:
    """Where the answer begins: the latest place that was asked for; and how far the output goes now."""
    end = log.end
    starts = [wanted.offset]
    if wanted.tail is not None:
        starts.append(log.tail(wanted.tail))
    if wanted.since is not None:
        starts.append(log.at_time(wanted.since))
    start = max(starts)
    return (log.first_kept(start) if wanted.ends_at_gaps else start), end


class _Gap(Exception):
    """The output goes on behind a gap, and the client wants to ask for that itself."""


class _Stream:
    """Sends a log from one position on."""

    def __init__(self, call: Call, log: RunLog, position: int, ends_at_gaps: bool) -> None:
        self._handler, self._log, self._position, self._ends_at_gaps = call.handler, log, position, ends_at_gaps

    async def send_all(self, end: int = LAST_POSITION) -> bool:
        """Send what there is before `end`; whether that was anything. Raises `_Gap`, `StreamClosedError`."""
        sent = False
        while self._position < end and not self._handler.disconnected:
            found = await asyncio.to_thread(self._log.read, self._position, min(CHUNK, end - self._position))
            if found is None or found.position >= end:
                break
            if found.position > self._position:
                if self._ends_at_gaps:
                    raise _Gap
                self._handler.write(gap_notice(found.position - self._position))
            self._handler.write(found.data[: end - found.position])
            self._position = found.position + len(found.data)
            await self._handler.flush()  # waits while the reader is slow
            sent = True
        return sent
