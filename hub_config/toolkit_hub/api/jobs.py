"""``/jobs`` and ``/servers``."""

from __future__ import annotations

from typing import Any

from toolkit_client.errors import InvalidRequest
from toolkit_client.models import ALIVE_STATES, App, Job, JobPatch, JobSpec, JobState, KilledJob, Page, Visit, VisitWish
from toolkit_client.queue_models import JobWhy
from toolkit_hub.api.context import Context
from toolkit_hub.api.event_stream import stream_events, stream_job_events
from toolkit_hub.api.images import image_digest
from toolkit_hub.api.log_stream import LOG_PARAMETERS, stream_job_log
from toolkit_hub.api.routing import Call, Parameter, Route
from toolkit_hub.domain import families, job_changes, job_list, job_metrics, jobs, visits
from toolkit_hub.domain.images import image_meant
from toolkit_hub.domain.job_apps import apps_of
from toolkit_hub.domain.why import job_why

__all__ = ["ROUTES", "stop_runs"]


async def submit(call: Call) -> Job:
    spec, key, context = call.body(JobSpec), call.idempotency_key(), call.context
    digest = await image_digest(context, image_meant(context.site, spec.image))
    made = await context.store.write(jobs.submit_job, context.site, call.actor, spec, key, digest)
    return _answer(call, *made)


async def retry(call: Call) -> Job:
    reference, key, context = call.path_arguments["job"], call.idempotency_key(), call.context
    image = await context.store.read(jobs.image_of, call.actor, reference)
    digest = await image_digest(context, image) if image else None
    made = await context.store.write(jobs.retry_job, context.site, call.actor, reference, key, digest)
    return _answer(call, *made)


async def own_server(call: Call) -> Job:
    key, context = call.idempotency_key(), call.context
    digest = await image_digest(context, context.site.default_image)
    made = await context.store.write(jobs.own_server, context.site, call.actor, key, digest)
    return _answer(call, *made)


def _answer(call: Call, job: Job, new: bool) -> Job:
    call.context.wake_queue()
    return call.made((job, new))


async def change(call: Call) -> Job:
    context = call.context
    job = await context.store.write(
        job_changes.change_job, context.site, call.actor, call.path_arguments["job"], call.body(JobPatch)
    )
    context.wake_queue()  # another bid is another order
    return job


async def list_(call: Call) -> dict[str, Any]:
    wanted = job_list.JobFilter(
        mine=call.flag("mine"),
        account=call.query("account"),
        name=call.query("name"),
        tag=call.query("tag"),
        array=call.query("array"),
        family=call.query("family"),
        states=_states(call.query("state")),
        created_since=call.time("since"),
        limit=call.number("limit", 100, 1, 1000) or 100,
        cursor=call.query("cursor"),
    )
    return await call.context.store.read(job_list.list_jobs, call.context.site, call.actor, wanted)


async def get(call: Call) -> Job:
    context, reference = call.context, call.path_arguments["job"]
    return await context.store.read(
        job_metrics.get_job_with_usage, context.site, call.actor, reference, context.sampler.fresh()
    )


async def why(call: Call) -> JobWhy:
    context = call.context
    return await context.store.read(job_why, context.site, call.actor, call.path_arguments["job"])


async def kill(call: Call) -> KilledJob:
    context = call.context
    job = await context.store.write(job_changes.kill_job, context.site, call.actor, call.path_arguments["job"])
    context.wake_queue()
    await stop_runs(context, job.id)
    return job


async def apps(call: Call) -> dict[str, Any]:
    job = await call.context.store.read(jobs.get_job, call.context.site, call.actor, call.path_arguments["job"])
    return {"items": [app.model_dump(by_alias=True) for app in apps_of(job)], "next": None}


async def visit(call: Call) -> Visit:
    reference, wish = call.path_arguments["job"], call.body(VisitWish)
    return await call.context.store.write(visits.make_visit, call.context.site, call.actor, reference, wish)


async def stop_runs(context: Context, job_or_array_id: str) -> None:
    """Have those stopped that a kill has turned to their end."""
    for run_id in await context.store.read(families.stopping, job_or_array_id):
        context.cancel_run(run_id)


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


ROUTES = [
    Route(
        "POST", "/jobs", "Submit a job, or an array of jobs", "job:new", submit, JobSpec, Job, 201, idempotent_key=True
    ),
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
            Parameter("tag", "only jobs with this tag: `key`, or `key=value`"),
            Parameter("array", "only the jobs of this array: its id or name"),
            Parameter("family", "only this job and all that descends from it: its id or name"),
            Parameter("state", "`alive`, `all`, or states separated by commas"),
            Parameter("since", "only jobs created at or after this time", {"type": "string", "format": "date-time"}),
            Parameter("limit", "items on a page", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
            Parameter("cursor", "`next` of the page before"),
        ),
    ),
    Route(
        "GET",
        "/jobs/{job}",
        "One job, by id, full name, or name in your home account; an array, or one of its jobs as `sweep:3`",
        "job:get",
        get,
        answer=Job,
    ),
    Route(
        "PATCH",
        "/jobs/{job}",
        "Change a living job's name, tags, bid or time limit; of one that waits also what it asks for, and its class",
        "job:set",
        change,
        JobPatch,
        Job,
    ),
    Route(
        "GET",
        "/jobs/{job}/why",
        "Why a job waits, who holds what it needs until when, and what would start it now",
        "job:get",
        why,
        answer=JobWhy,
    ),
    Route(
        "DELETE",
        "/jobs/{job}",
        "Kill a job, or all jobs of an array, with their families",
        "job:set",
        kill,
        answer=KilledJob,
    ),
    Route(
        "POST",
        "/jobs/{job}/retry",
        "Submit an ended job's spec again, as a new job",
        "job:new",
        retry,
        None,
        Job,
        201,
        idempotent_key=True,
    ),
    Route(
        "GET",
        "/jobs/{job}/logs",
        "The output of a run, as raw bytes",
        "job:get",
        stream_job_log,
        parameters=LOG_PARAMETERS,
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
    Route("GET", "/jobs/{job}/apps", "What the job serves, and where", "job:get", apps, answer=Page[App]),
    Route(
        "POST",
        "/jobs/{job}/visits",
        "Let one browser in to an app of the job, once: its port with `job:get`, the others with `job:exec`",
        "job:get",
        visit,
        VisitWish,
        Visit,
    ),
    Route(
        "GET",
        "/events",
        "What happens to everything that you may see, as server-sent events, from now or from `Last-Event-ID` on",
        "organization:get",
        stream_events,
        parameters=(
            Parameter("job", "only of this job"),
            Parameter("account", "only of this account and its jobs: id or full name"),
        ),
        media_type="text/event-stream",
    ),
    Route(
        "POST",
        "/servers",
        "Your own server: the one that lives, or a new one",
        "job:new",
        own_server,
        None,
        Job,
        201,
        idempotent_key=True,
    ),
]
