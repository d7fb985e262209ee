"""What happens to a job, as server-sent events (WHATWG HTML, 9.2)."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from sqlalchemy.orm import Session
from tornado.iostream import StreamClosedError

from toolkit_client.errors import InvalidRequest
from toolkit_client.models import Event, JobState
from toolkit_hub.api.routing import Call
from toolkit_hub.domain import events, jobs
from toolkit_hub.domain.access import Actor, authorise

__all__ = ["stream_job_events"]

#: Seconds after which a comment is sent, so that proxies keep the connection.
HEARTBEAT_S = 15


async def stream_job_events(call: Call) -> None:
    """All events of the job after `Last-Event-ID` (or from its first), then new ones; ends with the job."""
    handler, store = call.handler, call.context.store
    last = handler.request.headers.get("Last-Event-ID", "0")
    if not last.isdigit() or len(last) > 15:
        raise InvalidRequest("Last-Event-ID is the id of an event", "leave it out to begin at the first")
    seq = int(last)
    with store.watch() as changed:
        found, alive = await store.read(_events_after, call.actor, call.path_arguments["job"], seq)
        handler.set_header("Content-Type", "text/event-stream")
        with suppress(StreamClosedError):
            while not handler.disconnected:
                for event in found:
                    seq = event.seq
                    handler.write(f"id: {seq}\nevent: {event.type}\ndata: {event.model_dump_json(by_alias=True)}\n\n")
                await handler.flush()
                if not alive and not found:
                    return
                if not found:
                    try:
                        await asyncio.wait_for(changed.wait(), HEARTBEAT_S)
                    except TimeoutError:
                        handler.write(": still here\n\n")
                changed.clear()
                found, alive = await store.read(_events_after, call.actor, call.path_arguments["job"], seq)


def _events_after(session: Session, actor: Actor, reference: str, seq: int) -> tuple[list[Event], bool]:
    job = jobs.find_job(session, actor, reference)
    authorise(session, actor, "job:get", job.urn)
    return events.since(session, seq, job.urn), JobState(job.state).alive
