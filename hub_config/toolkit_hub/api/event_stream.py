"""What happens, as server-sent events (WHATWG HTML, 9.2): of one job, or of all that the caller may see.

Who the caller is and what he may see are asked again with each batch and at each heartbeat, so that a right or a token that
is taken away ends the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.orm import Session
from tornado.iostream import StreamClosedError

from toolkit_client.errors import InvalidRequest, NotSignedIn
from toolkit_client.models import Event, JobState
from toolkit_hub.api.routing import Call
from toolkit_hub.domain import accounts, events, jobs
from toolkit_hub.domain.access import Actor, authorise

__all__ = ["stream_events", "stream_job_events"]

#: Seconds after which a comment is sent, so that proxies keep the connection.
HEARTBEAT_S = 15.0
#: Milliseconds that a browser waits before it connects again.
RETRY_MS = 1000


@dataclass(frozen=True)
class _Batch:
    """Events to send, the number that has been looked at, and whether there is more or can be more."""

    events: list[Event]
    seq: int
    more: bool = False
    open: bool = True


async def stream_job_events(call: Call) -> None:
    """All events of the job after `Last-Event-ID` (or from its first), then new ones; ends with the job."""
    seq = _last_event_id(call)
    reference = call.path_arguments["job"]
    await _stream(
        call, lambda actor, at: call.context.store.read(_events_of_job, actor, reference, at), 0 if seq is None else seq
    )


async def stream_events(call: Call) -> None:
    """New events, or all after `Last-Event-ID`, of whatever the caller may see; does not end."""
    store = call.context.store
    seq = _last_event_id(call)
    prefix = await store.read(_prefix, call.actor, call.query("job"), call.query("account"))
    start = await store.read(events.last_seq) if seq is None else seq
    await _stream(call, lambda actor, at: store.read(_events_of_all, actor, prefix, at), start)


async def _stream(call: Call, read: Callable[[Actor, int], Awaitable[_Batch]], seq: int) -> None:
    handler, actor = call.handler, call.actor
    loop = asyncio.get_running_loop()
    with call.context.store.watch() as changed:
        batch = await read(actor, seq)
        handler.set_header("Content-Type", "text/event-stream")
        handler.write(f"retry: {RETRY_MS}\n\n")
        checked = loop.time()
        with suppress(StreamClosedError, NotSignedIn):
            while not handler.disconnected:
                for event in batch.events:
                    handler.write(f"id: {event.seq}\nevent: {event.type}\ndata: {_json(event)}\n\n")
                await handler.flush()  # waits while the reader is slow
                if not batch.open and not batch.more:
                    return
                if not batch.more and not await _changed(changed):
                    handler.write(": still here\n\n")
                if loop.time() - checked >= HEARTBEAT_S:
                    actor, checked = await handler.identify_again(), loop.time()
                changed.clear()
                batch = await read(actor, batch.seq)


async def _changed(changed: asyncio.Event) -> bool:
    try:
        await asyncio.wait_for(changed.wait(), HEARTBEAT_S)
    except TimeoutError:
        return False
    return True


def _last_event_id(call: Call) -> int | None:
    last = call.handler.request.headers.get("Last-Event-ID")
    if last is None:
        return None
    if not (last.isascii() and last.isdigit()) or len(last) > 15:
        raise InvalidRequest("Last-Event-ID is the id of an event", "leave it out to begin at the first")
    return int(last)


def _json(event: Event) -> str:
    return event.model_dump_json(by_alias=True)


def _events_of_job(session: Session, actor: Actor, reference: str, seq: int) -> _Batch:
    job = jobs.find_job(session, actor, reference)
    authorise(session, actor, "job:get", job.urn)
    found = events.since(session, seq, job.urn)
    return _Batch(found, found[-1].seq if found else seq, bool(found), JobState(job.state).alive)


def _prefix(session: Session, actor: Actor, job: str | None, account: str | None) -> str:
    """URN below which events are told. Raises `NotFound` for what the caller may not see."""
    if job:
        found = jobs.find_job(session, actor, job)
        authorise(session, actor, "job:get", found.urn)
        return found.urn
    if account:
        wanted = accounts.account_for(session, actor, account)
        authorise(session, actor, "account:get", wanted.urn)
        return wanted.urn
    return actor.organization_id


def _events_of_all(session: Session, actor: Actor, prefix: str, seq: int) -> _Batch:
    found, looked_at, more = events.visible_since(session, actor, seq, prefix)
    return _Batch(found, looked_at, more)
