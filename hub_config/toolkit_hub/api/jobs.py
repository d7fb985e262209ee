"""``/jobs`` and ``/servers``."""

from __future__ import annotations

from datetime import datetime

from toolkit_client.errors import InvalidRequest
from toolkit_client.models import ALIVE_STATES, Job, JobSpec, JobState, Page
from toolkit_hub.api.event_stream import stream_job_events
from toolkit_hub.api.log_stream import stream_job_log
from toolkit_hub.api.routing import Call, Parameter, Route
from toolkit_hub.domain import jobs

__all__ = ["ROUTES"]


async def submit(call: Call) -> Job:
    spec = call.body(JobSpec)
    context = call.context
    job, new = await context.store.write(jobs.submit_job, context.site, call.actor, spec, call.idempotency_key())
    if new:
        context.wake_queue()
    else:
        call.status = 200
    return job


async def own_server(call: Call) -> Job:
    context = call.context
    job, new = await context.store.write(jobs.own_server, context.site, call.actor)
    if new:
        context.wake_queue()
    else:
        call.status = 200
    return job


async def list_(call: Call) -> Page[Job]:
    wanted = jobs.JobFilter(
        mine=call.flag("mine"),
        account=call.query("account"),
        name=call.query("name"),
        states=_states(call.query("state")),
        created_since=_time(call.query("since")),
        limit=call.number("limit", 100, 1, 1000) or 100,
        cursor=call.query("cursor"),
    )
    return await call.context.store.read(jobs.list_jobs, call.context.site, call.actor, wanted)


async def get(call: Call) -> Job:
    return await call.context.store.read(jobs.get_job, call.context.site, call.actor, call.path_arguments["job"])


async def kill(call: Call) -> Job:
    context = call.context
    job = await context.store.write(jobs.kill_job, context.site, call.actor, call.path_arguments["job"])
    context.wake_queue()
    if job.state == JobState.CANCELLING:
        context.cancel_run(job.runs[-1].id)
    return job


def _states(text: str | None) -> frozenset[str]:
    if text is None or text == "all":
        return frozenset()
    wanted: set[str] = set()
    for word in text.split(","):
        if word == "alive":
            wanted.update(ALIVE_STATES)
        elif word.upper() in JobState.__members__:
            wanted.add(word.upper())
        else:
            known = ", ".join(["alive", "all", *(state.lower() for state in JobState)])
            raise InvalidRequest(f"there is no state {word[:40]!r}", f"known states: {known}")
    return frozenset(wanted)


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"since is a time as 2026-01-31T12:00:00Z, not {text[:40]!r}", "") from None
    return moment.astimezone()


_TAIL = Parameter("tail", "only the last N lines of what is there", {"type": "integer", "minimum": 0})
_OFFSET = Parameter("offset", "start at this byte of the log", {"type": "integer", "minimum": 0})
_FOLLOW = Parameter("follow", "go on until the job has ended", {"type": "boolean"})

ROUTES = [
    Route("POST", "/jobs", "Submit a job", "job:new", submit, JobSpec, Job, 201, idempotent_key=True),
    Route(
        "GET",
        "/jobs",
        "List the jobs that you may see, newest first",
        "job:get",
        list_,
        answer=Page[Job],
        parameters=(
            Parameter("mine", "only jobs that you submitted", {"type": "boolean"}),
            Parameter("account", "id or full name of an account"),
            Parameter("name", "the job's name"),
            Parameter("state", "`alive`, `all`, or states separated by commas"),
            Parameter("since", "only jobs created at or after this time", {"type": "string", "format": "date-time"}),
            Parameter("limit", "items on a page", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
            Parameter("cursor", "`next` of the page before"),
        ),
    ),
    Route("GET", "/jobs/{job}", "One job, by id, full name, or name in your home account", "job:get", get, answer=Job),
    Route("DELETE", "/jobs/{job}", "Kill a job", "job:set", kill, answer=Job),
    Route(
        "GET",
        "/jobs/{job}/logs",
        "The output of the newest run, as raw bytes",
        "job:get",
        stream_job_log,
        parameters=(_FOLLOW, _TAIL, _OFFSET),
        media_type="application/octet-stream",
    ),
    Route(
        "GET",
        "/jobs/{job}/events",
        "What happens to the job, as server-sent events, until it has ended",
        "job:get",
        stream_job_events,
        media_type="text/event-stream",
    ),
    Route(
        "POST", "/servers", "Your own server: the one that lives, or a new one", "job:new", own_server, None, Job, 201
    ),
]
